// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dsmip.data as data';
'require dsmip.picture as picture';
'require dsmip.states as states';
'require dsmip.style as style';

function row(label, value) {
	return E('tr', { 'class': 'tr' }, [
		E('td', { 'class': 'td left', 'width': '33%' }, [ label ]),
		E('td', { 'class': 'td left' }, Array.isArray(value) ? value : [ value ])
	]);
}

return baseclass.extend({
	title: _('Mobility'),

	load: function() {
		return data.status();
	},

	render: function(status) {
		if (!status || status.error)
			return null;

		const router = data.object(status.mobile_router), agent = data.object(status.home_agent);
		const last = data.object(router.last_handover);
		const found = [];

		if (status.mobile_router) {
			const state = states.of(status);

			found.push(row(_('State'), [ E('span', { 'class': 'dsmip-tag ' + state.kind }, [ state.word ]), ' ',
				[ router.uplink, picture.kind(router.kind) ].filter((one) => one).join(', ') ]));
			found.push(row(_('Home agent'), String(router.home_agent || '–')));
			found.push(row(_('Last handover'), last.to ? '%s → %s, %s'.format(last.from || '–', last.to, data.milliseconds(last.gap_ms)) : '–'));
		}

		if (status.home_agent)
			found.push(row(_('Registered routers'), _('%d of %d').format(data.number(agent.bindings), data.number(agent.routers))));

		return found.length ? E('div', {}, [ style.node(), E('table', { 'class': 'table' }, found) ]) : null;
	}
});
