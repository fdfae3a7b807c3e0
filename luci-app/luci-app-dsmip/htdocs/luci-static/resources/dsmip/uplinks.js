// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dom';
'require ui';
'require dsmip.data as data';
'require dsmip.picture as picture';
'require dsmip.svg as draw';

/*
 * The table of uplinks. Its cells are changed one by one when what they say changes, so
 * that a button is still there when the finger comes up.
 */

const UNITS = { 'rssi': 'dBm', 'rsrp': 'dBm', 'rsrq': 'dB', 'snr': 'dB' };

/* Bars of 0 to 4 for a modem's per cent. */
function bars(quality) {
	const on = Math.ceil(Math.min(Math.max(quality, 0), 100) / 25);

	return draw.svg('svg', { 'viewBox': '0 0 18 12', 'width': 18, 'height': 12, 'class': 'dsmip-bars', 'role': 'img', 'aria-label': '%d %%'.format(quality) },
		[ 1, 2, 3, 4 ].map((step) => draw.svg('rect', { 'x': step * 4.5 - 4.5, 'y': 12 - step * 3, 'width': 3.5, 'height': step * 3, 'class': step <= on ? 'on' : null })));
}

function signal(uplink) {
	const said = data.object(uplink.signal), parts = [];

	if (said.quality != null)
		parts.push(bars(data.number(said.quality)), ' ', '%d %%'.format(data.number(said.quality)));

	const named = [ said.operator, said.technology ].filter((one) => one).join(' ');
	const levels = Object.keys(UNITS).filter((name) => said[name] != null).map((name) => '%s %s %s'.format(name.toUpperCase(), data.number(said[name]), UNITS[name]));

	if (named)
		parts.push(parts.length ? E('br') : '', named);

	if (levels.length)
		parts.push(parts.length ? E('br') : '', E('small', {}, [ levels.join(', ') ]));

	return parts.length ? parts : [ '–' ];
}

function used(uplink) {
	const sum = data.object(uplink.used), carried = data.carried(uplink);
	const rx = sum.rx_bytes == null ? carried.rx : sum.rx_bytes, tx = sum.tx_bytes == null ? carried.tx : sum.tx_bytes;

	return [ E('bdi', {}, [ '%s ↓ %s ↑'.format(data.bytes(rx), data.bytes(tx)) ]),
		sum.since ? E('small', { 'style': 'display:block' }, [ _('since %s').format(new Date(data.number(sum.since) * 1000).toLocaleDateString()) ]) : '' ];
}

function state(uplink) {
	const how = picture.part(uplink), parts = [];
	const tag = (text, kind) => parts.push(' ', E('span', { 'class': 'dsmip-tag ' + kind }, [ text ]));

	if (uplink.held)
		tag(_('paused'), 'busy');
	else if (uplink.at_home && uplink.active)
		tag(_('at home'), 'good');
	else
		tag(how == 'active' ? _('active') : how == 'standby' ? _('standby') : _('not used'), how == 'active' ? 'good' : how == 'standby' ? 'ready' : 'off');

	if (uplink.portal)
		tag(_('login needed'), 'bad');

	if (uplink.stalled)
		tag(_('stalled'), 'bad');

	if (uplink.metered)
		tag(_('metered'), 'ready');

	if (data.number(uplink.cost))
		tag(_('cost %d').format(uplink.cost), 'ready');

	return parts;
}

/* Why it is not used, and what can be done about that. */
function why(uplink) {
	const address = uplink.portal ? data.link(uplink.portal) : null;

	if (address)
		return [ _('a login is needed'), ' ', E('a', { 'class': 'btn cbi-button', 'href': address, 'target': '_blank', 'rel': 'noopener noreferrer' }, [ _('Log in …') ]) ];

	return [ String(uplink.why_not || '') ];
}

const Table = baseclass.extend({
	/* act: use(name) and hold(name, held), which return promises; null for who only looks. */
	__init__: function(act) {
		this.act = act;
		this.rows = {};
		this.order = '';
		this.body = E('tbody');
		this.empty = E('tr', { 'class': 'tr placeholder' }, [ E('td', { 'class': 'td', 'colspan': this.columns().length }, [ E('em', {}, [ _('No uplink is configured.') ]) ]) ]);
		this.node = E('div', { 'class': 'dsmip-scroll' }, [ E('table', { 'class': 'table dsmip-table' }, [
			E('thead', {}, [ E('tr', { 'class': 'tr table-titles' }, this.columns().map((column) => E('th', { 'class': 'th' }, [ column[0] ]))) ]),
			this.body
		]) ]);
	},

	/* Title, what the cell depends on, and what is in it. */
	columns: function() {
		const first = (uplink) => data.object(data.objects(uplink.registrations)[0]);
		const path = (uplink) => data.object(data.objects(uplink.paths).find((one) => data.object(one).active) || data.objects(uplink.paths)[0]);

		return [
			[ _('Uplink'), (uplink, index) => [ uplink.interface, index ], (uplink, index) => [
				E('i', { 'class': 'dsmip-dot', 'style': 'background:' + draw.colour(index) }), ' ',
				E('b', {}, [ String(uplink.name) ]), E('small', { 'style': 'display:block' }, [ String(uplink.interface || '') ])
			] ],
			[ _('State'), (uplink) => [ picture.part(uplink), uplink.held, uplink.at_home, !!uplink.portal, !!uplink.stalled, uplink.metered, uplink.cost ], state ],
			[ _('Care-of address'), (uplink) => uplink.addresses, (uplink) => data.list(uplink.addresses).length
				? data.list(uplink.addresses).map((one) => E('bdi', { 'style': 'display:block' }, [ String(one) ])) : [ '–' ] ],
			[ _('Signal'), (uplink) => uplink.signal, signal ],
			[ _('Wire, MTU'), (uplink) => [ path(uplink).kind, path(uplink).mtu ], (uplink) => [
				[ picture.kind(path(uplink).kind), path(uplink).mtu ? String(path(uplink).mtu) : '' ].filter((one) => one).join(', ') || '–' ] ],
			[ _('RTT / loss'), (uplink) => [ uplink.rtt_ms, uplink.loss_percent ], (uplink) => [
				'%s / %s'.format(data.milliseconds(uplink.rtt_ms), uplink.loss_percent == null ? '–' : '%s %%'.format(uplink.loss_percent)) ] ],
			[ _('Data used'), (uplink) => [ uplink.used, data.carried(uplink) ], used ],
			[ _('Rank'), (uplink) => [ first(uplink).rank, uplink.priority ], (uplink) => [
				String(first(uplink).rank == null ? (uplink.priority == null ? '–' : uplink.priority) : first(uplink).rank) ] ],
			[ _('Why not used'), (uplink) => [ uplink.why_not, uplink.portal ], why ],
			[ '', (uplink) => [ uplink.held, uplink.active ], (uplink) => this.buttons(uplink) ]
		];
	},

	buttons: function(uplink) {
		const name = String(uplink.name);
		const button = (kind, text, act) => E('button', {
			'class': 'btn cbi-button cbi-button-' + kind, 'disabled': this.act ? null : true, 'click': ui.createHandlerFn(this, act)
		}, [ text ]);

		return [ E('div', { 'class': 'dsmip-row-actions' }, [
			uplink.active || uplink.held ? '' : button('action', _('Switch now'), () => this.act.use(name)),
			uplink.held ? button('apply', _('Resume'), () => this.act.hold(name, false))
				: button('neutral', _('Pause'), () => this.act.hold(name, true))
		]) ];
	},

	draw: function(uplinks) {
		const columns = this.columns();
		const order = JSON.stringify(uplinks.map((uplink) => uplink.name));

		if (order != this.order) {
			this.order = order;
			this.rows = uplinks.map((uplink) => ({
				node: E('tr', { 'class': 'tr', 'data-uplink': String(uplink.name) }),
				cells: columns.map((column) => E('td', { 'class': 'td', 'data-title': column[0] || null })),
				keys: []
			}));
			this.rows.forEach((row) => dom.append(row.node, row.cells));
			dom.content(this.body, uplinks.length ? this.rows.map((row) => row.node) : [ this.empty ]);
		}

		uplinks.forEach((uplink, index) => columns.forEach((column, at) => {
			const row = this.rows[index], key = JSON.stringify(column[1](uplink, index)) || '';

			if (row.keys[at] === key)
				return;

			row.keys[at] = key;
			dom.content(row.cells[at], column[2](uplink, index));
		}));
	}
});

return baseclass.extend({ Table: Table });
