// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dsmip.data as data';

/* Faults by name, each with what to do. A rule looks at the status document. */

/* Seconds. */
const CLOCK_SKEW = 120, EXPIRY = 30 * 86400;

/* Where to log in, as a link if a browser may open it. */
function portal(address) {
	const url = data.link(address);

	return url ? E('a', { 'href': url, 'target': '_blank', 'rel': 'noopener noreferrer' }, [ url ]) : E('code', {}, [ String(address) ]);
}

function routerRules(status, browserTime) {
	const router = data.object(status.mobile_router);
	const uplinks = data.objects(status.uplinks);
	const found = [];
	const say = (name, text, cure) => found.push({ name: name, text: text, cure: cure });

	if (router.problem)
		say('problem', String(router.problem), _('The home agent said this. Compare identity, addresses, prefixes and keys with its entry for this router.'));

	if (router.state == 'Home agent lost')
		say('agent-lost', _('The home agent does not answer.'),
			_('Check that it runs and that firewalls on the way let UDP port 4191 and ESP through.'));

	if (uplinks.length && uplinks.every((uplink) => data.object(uplink).held))
		say('paused', _('All uplinks are paused.'), _('Somebody asked for that here or with “dsmip hold”. Resume them below.'));
	else if (router.state == 'No uplink' && uplinks.length)
		say('no-uplink', _('No uplink has an address and a default route.'),
			_('Look at the table of uplinks: each line says what is missing.'));

	if (!uplinks.length)
		say('no-uplinks', _('No uplink is configured.'), _('Add the interfaces that lead to the Internet under Services, Mobility.'));

	for (const uplink of uplinks.map(data.object)) {
		if (uplink.portal)
			say('portal', _('%s asks for a login.').format(uplink.name),
				[ _('Nothing else goes through it before.'), ' ', portal(uplink.portal) ]);

		const own = uplink.at_home ? null : data.list(uplink.addresses).find((address) => data.list(router.prefixes).some((prefix) => data.within(address, prefix)));

		if (own)
			say('collision', _('%s has the address %s, which is one of the mobile network’s own.').format(uplink.name, own),
				_('Hosts on the LAN cannot reach that network. Use another prefix here, or another uplink there.'));

		if (uplink.stalled)
			say('stalled', _('%s has a link and no path: %s.').format(uplink.name, uplink.stalled),
				_('Its interface is restarted by itself, with growing waits. If that never helps, look at the modem’s signal and its subscription.'));

		if (uplink.carrier && data.list(uplink.addresses).length && !data.list(uplink.gateways).length && !uplink.at_home)
			say('no-route', _('%s has an address but no default route.').format(uplink.name),
				_('Its network may ask for a login first, or its router is not heard.'));

		if (uplink.active)
			for (const path of data.objects(uplink.paths))
				if (path.active && path.mtu && path.mtu < 1320)
					say('small-mtu', _('Only %d octets fit through %s.').format(path.mtu, uplink.name),
						_('Connections go on, but slower. Ask the operator of that network, or prefer another uplink.'));
	}

	if (router.protection == 'none')
		say('unprotected', _('Signalling is not protected.'),
			_('Anybody can take over this router’s addresses. Set a static key, or keys from IKEv2.'));

	if (status.time && browserTime && Math.abs(status.time - browserTime) > CLOCK_SKEW)
		say('clock', _('The router’s clock differs from this computer’s by %s.').format(data.duration(Math.abs(status.time - browserTime))),
			_('Certificates and logs depend on the time. Check NTP on the router.'));

	if (data.object(status.device).data_path == 'portable')
		say('portable', _('The kernel module is not in use.'),
			_('Everything works, slower, and stops with the daemon. Install kmod-dsmip for this kernel.'));

	const ends = [ data.object(status.ike).certificate_ends ].concat(data.objects(data.object(status.ike).connections).map((one) => data.object(one).peer_certificate_ends));

	for (const end of ends.map(data.number))
		if (end && end - data.number(status.time) < EXPIRY)
			say('certificate', _('A certificate ends on %s.').format(new Date(end * 1000).toLocaleDateString()),
				_('Have it issued anew: dsmip enroll on the home agent.'));

	return found;
}

return baseclass.extend({
	router: routerRules,

	/* Nothing, or a list with cures. */
	render: function(found) {
		if (!found.length)
			return E('p', { 'class': 'dsmip-well' }, [ _('No faults found.') ]);

		return E('ul', { 'class': 'dsmip-faults' }, found.map((fault) => E('li', { 'data-fault': fault.name }, [
			E('strong', {}, [ fault.text ]), ' ', E('span', {}, Array.isArray(fault.cure) ? fault.cure : [ fault.cure ])
		])));
	},

	/* What stands there instead of a page when there is nothing to show. */
	absent: function(error) {
		return E('div', { 'class': 'alert-message warning dsmip-absent' }, [
			E('h4', {}, [ _('The daemon does not answer') ]),
			E('p', {}, [ String(error || '') ]),
			E('p', {}, [ _('Start it with:'), ' ', E('code', {}, [ '/etc/init.d/dsmip enable; /etc/init.d/dsmip start' ]) ]),
			E('p', {}, [ _('If it ends again at once, this tells why:'), ' ', E('code', {}, [ 'logread -e dsmip; dsmip check-config --uci' ]) ])
		]);
	}
});
