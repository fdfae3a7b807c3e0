// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dom';
'require ui';
'require dsmip.data as data';
'require dsmip.picture as picture';

/*
 * The dialog that does without the uplink in use for some seconds, and shows for how
 * long packets stopped. The daemon ends the test, also if this page goes away.
 */

const SECONDS = [ 5, 10, 30, 60 ];
const LOOK = 500, HISTORY = 20, PATIENCE = 10;
const PHASES = [
	[ 'address', () => _('Address') ],
	[ 'update_sent', () => _('Update sent') ],
	[ 'acknowledged', () => _('Acknowledged') ],
	[ 'first_packet', () => _('First packet') ]
];

function wait(milliseconds) {
	return new Promise((done) => window.setTimeout(done, milliseconds));
}

/* The first handover after one of that number, once it has carried a packet. */
function arrived(after) {
	return data.history(HISTORY).then((reply) => data.objects(reply.handovers)
		.find((one) => data.number(data.object(one).number) > after && !one.event && one.gap_ms != null));
}

function result(one) {
	const longest = Math.max(data.number(one.gap_ms), 1);
	const phases = data.object(one.phases_ms);

	return [
		E('p', { 'class': 'dsmip-gap' }, [ E('strong', {}, [ data.milliseconds(one.gap_ms) ]), ' ', _('without packets'), ', ',
			one.packets_lost == null ? _('loss not measured') : N_(one.packets_lost, '%d packet lost', '%d packets lost').format(one.packets_lost) ]),
		E('p', {}, [ '%s → %s (%s)'.format(one.from || '–', one.to || '–', picture.kind(one.kind)) ]),
		E('dl', { 'class': 'dsmip-card' }, PHASES.reduce((all, phase) => all.concat(phases[phase[0]] == null ? [] : [
			E('dt', {}, [ phase[1]() ]),
			E('dd', {}, [ E('div', { 'class': 'dsmip-bar' }, [ E('div', { 'style': 'width:%d%%'.format(Math.min(data.number(phases[phase[0]]) / longest * 100, 100)) }) ]),
				E('small', {}, [ data.milliseconds(phases[phase[0]]) ]) ])
		]), []))
	];
}

return baseclass.extend({
	phases: PHASES,

	/* alone: no other uplink could take over. */
	show: function(uplink, alone) {
		const field = E('select', { 'class': 'cbi-input-select', 'aria-label': _('Seconds') },
			SECONDS.map((one) => E('option', { 'value': one }, [ _('%d s').format(one) ])));
		const place = E('div', { 'id': 'dsmip-failover', 'role': 'status', 'aria-live': 'polite' });
		const close = E('button', { 'class': 'btn cbi-button', 'click': ui.hideModal }, [ _('Close') ]);
		const start = E('button', { 'class': 'btn cbi-button cbi-button-action important', 'click': ui.createHandlerFn(this, function() {
			return this.run(uplink, Number(field.value), place);
		}) }, [ _('Start') ]);

		ui.showModal(_('Test failover'), [
			E('p', {}, [ _('%s is not used for some seconds, as if it had failed, and then used again by itself.').format(uplink || '–') ]),
			alone ? E('p', { 'class': 'alert-message warning' }, [ _('No other uplink is ready: all connections stop for that time.') ]) : '',
			E('p', {}, [ field ]),
			place,
			E('div', { 'class': 'right' }, [ close, ' ', start ])
		]);
	},

	run: function(uplink, seconds, place) {
		const until = Date.now() + (seconds + PATIENCE) * 1000;

		dom.content(place, [ E('p', { 'class': 'spinning' }, [ _('Waiting for the first packet by another uplink …') ]) ]);

		return data.failover(uplink, seconds).then(function(reply) {
			if (reply.error) {
				dom.content(place, [ E('p', { 'class': 'alert-message error' }, [ _('The daemon refused: %s').format(reply.error) ]) ]);

				return;
			}

			const look = () => arrived(data.number(reply.after)).then(function(one) {
				if (one)
					dom.content(place, result(one));
				else if (Date.now() > until)
					dom.content(place, [ E('p', { 'class': 'alert-message warning' }, [ _('No packet came by another uplink within %s.').format(data.duration(seconds)) ]) ]);
				else
					return wait(LOOK).then(look);
			});

			return look();
		});
	}
});
