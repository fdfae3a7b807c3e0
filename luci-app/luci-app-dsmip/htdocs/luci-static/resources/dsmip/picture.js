// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dsmip.svg as draw';
'require dsmip.data as data';

/*
 * Where everything stands, in units of the picture: from the side on a screen, without
 * the LAN and with narrower boxes on a phone.
 */
const WIDE = { width: 900, row: 64, box: [ 142, 46 ], lan: 2, router: 186, uplink: 384, label: 0.27, agent: 756, nat: 682, name: 17, below: 23 };
const NARROW = { width: 390, row: 58, box: [ 104, 42 ], router: 2, uplink: 134, label: 0.5, agent: 284, nat: 0, name: 12, below: 17 };

/* What travels between router and home agent, in words for a line. */
const KINDS = {
	'ip6': 'IPv6', 'ip4': 'IPv4', 'udp4': 'UDP/IPv4', 'udp6': 'UDP/IPv6', 'ro': 'direct'
};

function shorten(text, length) {
	text = String(text);

	return text.length > length ? text.substring(0, length - 1) + '…' : text;
}

function box(place, x, y, title, below, kind, full, extra) {
	const width = place.box[0], height = place.box[1];

	return draw.svg('g', { 'class': 'node ' + kind, 'transform': 'translate(%d,%d)'.format(x, y - height / 2) }, [
		draw.svg('title', {}, [ full || (title + (below ? '\n' + below : '')) ]),
		draw.svg('rect', { 'width': width, 'height': height, 'rx': 7 }),
		draw.svg('text', { 'x': width / 2, 'y': below ? height / 2 - 3 : height / 2 + 4, 'text-anchor': 'middle', 'class': 'name' },
			[ shorten(title, place.name) ]),
		draw.svg('text', { 'x': width / 2, 'y': height / 2 + 13, 'text-anchor': 'middle', 'class': 'small' },
			[ shorten(below || '', place.below) ])
	].concat(extra || []));
}

function line(x1, y1, x2, y2, kind, colour) {
	return draw.svg('path', {
		'd': 'M%d,%d C%d,%d %d,%d %d,%d'.format(x1, y1, (x1 + x2) / 2, y1, (x1 + x2) / 2, y2, x2, y2),
		'class': 'path ' + kind, 'stroke': colour
	});
}

/* Words on a line, a share of its way along. */
function label(x1, y1, x2, y2, share, text) {
	/* The curve of line(), at that share. */
	const t = share, u = 1 - t, middle = (x1 + x2) / 2;
	const x = u * u * u * x1 + 3 * u * u * t * middle + 3 * u * t * t * middle + t * t * t * x2;
	const y = (u * u * u + 3 * u * u * t) * y1 + (3 * u * t * t + t * t * t) * y2;

	return draw.svg('text', { 'x': x, 'y': y + 4, 'text-anchor': 'middle', 'class': 'small wire' }, [ text ]);
}

/* How an uplink takes part: active, standby (registered, or ready), or off. */
function part(uplink) {
	if (uplink.active)
		return 'active';

	if (uplink.held || uplink.portal || uplink.stalled)
		return 'off';

	if (data.objects(uplink.registrations).some((one) => one.state == 'registered'))
		return 'standby';

	return (uplink.carrier && data.list(uplink.addresses).length) ? 'standby' : 'off';
}

/* A modem's bars, in the corner of its box. */
function bars(place, uplink) {
	const quality = data.object(uplink.signal).quality;

	if (quality == null)
		return [];

	const on = Math.ceil(Math.min(Math.max(data.number(quality), 0), 100) / 25);

	return [ draw.svg('g', { 'class': 'dsmip-bars', 'transform': 'translate(%d,5)'.format(place.box[0] - 22) },
		[ 1, 2, 3, 4 ].map((step) => draw.svg('rect', { 'x': step * 4 - 4, 'y': 11 - step * 2.5, 'width': 3, 'height': step * 2.5, 'class': step <= on ? 'on' : null }))) ];
}

return baseclass.extend({
	part: part,
	kind: (kind) => KINDS[kind] || String(kind || ''),

	/* What the picture shows of a document: it is drawn anew when that changes. */
	key: function(status, narrow) {
		const router = data.object(status.mobile_router);

		return JSON.stringify([ narrow, router.identity, router.home_address, router.home_agent, router.prefixes, router.nat, router.uplink ].concat(
			data.objects(status.uplinks).map((uplink) => [ uplink.name, uplink.addresses, part(uplink), uplink.why_not, data.object(uplink.signal).quality,
				data.objects(uplink.paths).map((path) => [ path.kind, path.mtu, path.active ]), data.objects(uplink.registrations).map((one) => one.nat) ])));
	},

	/* LAN, router, uplinks, NAT, home agent: from left to right. */
	render: function(status, narrow) {
		const place = narrow ? NARROW : WIDE;
		const router = data.object(status.mobile_router);
		const uplinks = data.objects(status.uplinks);
		const height = Math.max(uplinks.length, 1) * place.row + 8;
		const middle = height / 2, wide = place.box[0];
		const behind = [], before = [];
		const prefixes = data.list(router.prefixes);

		if (place.lan != null) {
			behind.push(line(place.lan + wide, middle, place.router, middle, router.uplink ? 'active' : 'off', 'currentColor'));
			before.push(box(place, place.lan, middle, _('LAN'), prefixes[0] ? prefixes[0] + (prefixes.length > 1 ? ' …' : '') : '', 'lan', [ _('LAN') ].concat(prefixes).join('\n')));
		}

		before.push(box(place, place.router, middle, String(router.identity || _('Router')), String(router.home_address || ''), 'router'));
		before.push(box(place, place.agent, middle, _('Home agent'), String(router.home_agent || ''), 'agent'));

		uplinks.forEach(function(uplink, index) {
			const y = 4 + index * place.row + place.row / 2;
			const how = part(uplink);
			const paths = data.objects(uplink.paths);
			const path = paths.find((one) => one.active) || paths[0] || {};
			const nat = uplink.active ? router.nat : data.objects(uplink.registrations).some((one) => one.nat);
			const mtu = data.number(path.mtu);
			const colour = draw.colour(index), end = place.uplink + wide;
			const wire = KINDS[path.kind] ? KINDS[path.kind] + (mtu ? (narrow ? ', %d' : ', MTU %d').format(mtu) : '') : '';
			/* On a phone there is no room on the lines. */
			const below = how == 'off' ? String(uplink.why_not || '') : (narrow && wire) || String(data.list(uplink.addresses)[0] || '');

			behind.push(line(place.router + wide, middle, place.uplink, y, how, colour));

			if (how != 'off') {
				behind.push(line(end, y, place.agent, middle, how, colour));

				before.push(label(end, y, place.agent, middle, place.label, narrow ? (nat ? 'NAT' : '') : wire));

				if (nat && !narrow) {
					const at = (place.nat + 22 - end) / (place.agent - end), u = 1 - at;
					const natY = (u * u * u + 3 * u * u * at) * y + (3 * u * at * at + at * at * at) * middle;

					before.push(draw.svg('g', { 'class': 'node nat', 'transform': 'translate(%d,%d)'.format(place.nat, natY - 13) }, [
						draw.svg('title', {}, [ _('Address translation in this network') ]),
						draw.svg('rect', { 'width': 44, 'height': 26, 'rx': 13 }),
						draw.svg('text', { 'x': 22, 'y': 17, 'text-anchor': 'middle', 'class': 'small' }, [ 'NAT' ])
					]));
				}
			}

			before.push(box(place, place.uplink, y, String(uplink.name || ''), below, 'uplink ' + how,
				[ uplink.name ].concat(data.list(uplink.addresses), [ uplink.why_not ]).filter((one) => one).join('\n'), bars(place, uplink)));
		});

		return draw.svg('svg', {
			'viewBox': '0 0 %d %d'.format(place.width, height), 'class': 'dsmip-picture', 'role': 'img',
			'aria-label': _('The router, its uplinks and its home agent')
		}, behind.concat(before));
	}
});
