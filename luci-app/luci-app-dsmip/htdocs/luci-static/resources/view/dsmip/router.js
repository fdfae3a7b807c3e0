// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require view';
'require dom';
'require poll';
'require uci';
'require ui';
'require dsmip.data as data';
'require dsmip.failover as failover';
'require dsmip.faults as faults';
'require dsmip.files as files';
'require dsmip.picture as picture';
'require dsmip.plot as plot';
'require dsmip.states as states';
'require dsmip.style as style';
'require dsmip.svg as draw';
'require dsmip.uplinks as uplinks';

const HANDOVERS = 50;
const NARROW = window.matchMedia('(max-width: 600px)');
/* What happened to an uplink between handovers. */
const EVENTS = {
	'restart': () => _('restarted'),
	'portal': () => _('login needed'),
	'portal passed': () => _('login done')
};
const PHASES = failover.phases;

function cell(content, title) {
	/* What says nothing takes no room on a phone; addresses read the same in every language. */
	return E('td', { 'class': 'td' + (content === '–' ? ' dsmip-none' : ''), 'data-title': title }, Array.isArray(content) ? content : [ E('bdi', {}, [ content ]) ]);
}

function table(titles, rows, empty) {
	const head = E('tr', { 'class': 'tr table-titles' }, titles.map((title) => E('th', { 'class': 'th' }, [ title ])));

	if (!rows.length)
		rows = [ E('tr', { 'class': 'tr placeholder' }, [ E('td', { 'class': 'td', 'colspan': titles.length }, [ E('em', {}, [ empty ]) ]) ]) ];

	return E('div', { 'class': 'dsmip-scroll' }, [ E('table', { 'class': 'table dsmip-table' }, [ head ].concat(rows)) ]);
}

function handoverText(one) {
	return '%s, %s'.format(one.gap_ms == null ? _('no packet yet') : data.milliseconds(one.gap_ms),
		one.packets_lost == null ? _('loss not measured') : N_(one.packets_lost, '%d packet lost', '%d packets lost').format(one.packets_lost));
}

return view.extend({
	handleSave: null,
	handleSaveApply: null,
	handleReset: null,

	load: function() {
		return Promise.all([ data.status(), data.history(HANDOVERS) ]);
	},

	render: function(loaded) {
		this.samples = new data.Samples();
		this.span = 'fine';
		this.shown = {};
		this.missed = 0;
		this.writable = L.hasViewPermission() === true;
		this.uplinks = new uplinks.Table(this.writable ? {
			use: (name) => this.order(data.handover(name)),
			hold: (name, held) => this.order(data.hold(name, held))
		} : null);

		const place = (name, attributes) => this.shown[name] = E('div', Object.assign({ 'id': 'dsmip-' + name }, attributes));
		const section = (title, ...parts) => E('div', { 'class': 'cbi-section' }, [ title ? E('h3', {}, [ title ]) : '' ].concat(parts));
		const page = E('div', { 'class': 'dsmip-page' }, [
			style.node(),
			E('h2', {}, [ _('Mobility') ]),
			place('absent'),
			place('strip', { 'role': 'status', 'aria-live': 'polite' }),
			section('', E('div', { 'class': 'dsmip-scroll' }, [ place('picture') ])),
			section(_('Faults'), place('faults')),
			section(_('Uplinks'), E('div', { 'id': 'dsmip-uplinks' }, [ this.uplinks.node ]), this.renderActions()),
			section(_('Binding'), place('binding')),
			section(_('Live'), this.renderSpans(), place('legend', { 'class': 'dsmip-legend' }), place('plots', { 'class': 'dsmip-scroll' })),
			section(_('Handovers'), place('gaps'), place('history'), this.renderExports())
		]);

		this.take(loaded[0], loaded[1]);
		this.fill('fine');

		poll.add(L.bind(this.look, this), 1);
		this.onvisible = L.bind(function() {
			if (document.hidden)
				return;

			this.fill(this.span);
			this.look();
		}, this);
		document.addEventListener('visibilitychange', this.onvisible);
		NARROW.addEventListener('change', L.bind(function() {
			if (this.status)
				this.draw();
		}, this));

		return page;
	},

	/* What the daemon has sampled while nobody looked. */
	fill: function(span) {
		this.filled = Object.assign(this.filled || {}, { [span]: Date.now() });

		return data.samples(span).then(L.bind(function(reply) {
			const found = data.sampled(reply, this.skew());

			if (!found.length)
				return;

			this.samples.fill(span, found);

			if (this.status)
				this.drawPlots(this.status);
		}, this));
	},

	/* How far this computer's clock is ahead of the router's, in seconds. */
	skew: function() {
		return (this.status && data.number(this.status.time)) ? this.takenAt - data.number(this.status.time) : 0;
	},

	/* Nobody looks at a hidden page, and one question at a time is enough. */
	look: function() {
		if (document.hidden || this.asking)
			return Promise.resolve();

		if (this.shown.strip && !this.shown.strip.isConnected) {
			document.removeEventListener('visibilitychange', this.onvisible);

			return Promise.resolve();
		}

		this.asking = true;

		return Promise.all([ data.status(), data.history(HANDOVERS) ]).then(L.bind(function(replies) {
			this.asking = false;
			this.take(replies[0], replies[1]);
		}, this), L.bind(function() {
			this.asking = false;
		}, this));
	},

	take: function(status, history) {
		if (status.error || !status.mobile_router) {
			/* While the uplink changes a reply may be missed: what is known stays. */
			if (++this.missed > 3 || !this.status) {
				const why = status.error || _('This machine is no mobile router.');

				dom.content(this.shown.absent, status.error ? faults.absent(why) : E('p', { 'class': 'alert-message' }, [
					why, ' ', E('a', { 'href': L.url('admin/services/dsmip') }, [ _('Set up a mobile router …') ])
				]));
				dom.content(this.shown.strip, []);
				this.shown.strip.className = '';
			}

			return;
		}

		/* A daemon that was away, or another one, has other samples. */
		const back = this.missed > 3 || (this.status && data.number(status.uptime) < data.number(this.status.uptime));

		this.missed = 0;
		this.status = status;
		this.takenAt = Date.now() / 1000;
		this.handovers = data.objects(history.handovers).filter((one) => one != null);
		dom.content(this.shown.absent, []);
		this.samples.take(status, this.takenAt);
		this.draw();

		if (back || (this.span == 'coarse' && Date.now() - data.number(data.object(this.filled).coarse) > data.COARSE.every * 1000))
			this.fill(this.span);
	},

	draw: function() {
		const status = this.status;

		this.drawStrip(status);
		this.drawPicture();
		dom.content(this.shown.faults, faults.render(faults.router(status, Date.now() / 1000)));
		this.uplinks.draw(data.objects(status.uplinks).filter((one) => one != null));
		dom.content(this.shown.binding, this.renderBinding(status));
		this.drawButtons(status);
		this.drawPlots(status);
		this.drawHistory();
	},

	/* It moves: only what has changed is drawn anew. */
	drawPicture: function() {
		if (!this.status)
			return;

		const key = picture.key(this.status, NARROW.matches);

		if (key == this.pictured)
			return;

		this.pictured = key;
		dom.content(this.shown.picture, picture.render(this.status, NARROW.matches));
	},

	drawStrip: function(status) {
		const router = data.object(status.mobile_router);
		const known = data.objects(status.uplinks);
		const state = states.of(status);
		const login = known.map((uplink) => data.link(data.object(uplink).portal)).find((one) => one);
		const item = (label, value) => E('span', { 'class': 'item' }, [ E('span', {}, [ label ]), ' ', E('b', {}, [ E('bdi', {}, [ value ]) ]) ]);
		const parts = [ E('span', { 'class': 'state' }, [ state.word + (router.uplink ? ' · ' + router.uplink : '') ]) ];

		if (router.home_agent)
			parts.push(item(_('Home agent'), String(router.home_agent)));

		parts.push(item(_('Running for'), data.duration(status.uptime)));

		if (router.last_handover)
			parts.push(item(_('Last handover'), '%s, %s'.format(handoverText(router.last_handover), data.clock(router.last_handover.time))));

		if (login && !router.uplink)
			parts.push(E('a', { 'class': 'btn cbi-button cbi-button-action important', 'href': login, 'target': '_blank', 'rel': 'noopener noreferrer' }, [ _('Log in …') ]));

		this.shown.strip.className = 'dsmip-strip ' + state.kind;
		dom.content(this.shown.strip, parts);
	},

	renderBinding: function(status) {
		const router = data.object(status.mobile_router);
		const left = data.number(router.remaining), life = data.number(router.lifetime);
		const share = life ? Math.min(left / life * 100, 100) : 0;
		const careOf = data.object(router.care_of);
		const pairs = [
			[ _('Home address'), [ router.home_address, router.home_address4 ].filter((one) => one).join(', ') || '–' ],
			[ _('Mobile network prefixes'), data.list(router.prefixes).join(', ') || '–' ],
			[ _('Care-of address'), careOf.address ? '%s (%s%s)'.format(careOf.address, picture.kind(careOf.kind), router.nat ? ', NAT' : '') : '–' ],
			[ _('Sequence number'), String(router.sequence == null ? '–' : router.sequence) ],
			[ _('Lifetime'), [
				E('div', { 'class': 'dsmip-bar', 'role': 'progressbar', 'aria-valuenow': Math.round(share), 'aria-valuemin': 0, 'aria-valuemax': 100 },
					[ E('div', { 'style': 'width:%d%%'.format(share) }) ]),
				E('small', {}, [ life ? _('%s of %s left').format(data.duration(left), data.duration(life)) : '–' ])
			] ],
			[ _('Next refresh'), router.refresh_in == null ? '–' : _('in %s').format(data.duration(router.refresh_in)) ],
			[ _('Protection'), router.protection == 'none' ? _('none') : 'ESP' ]
		];

		for (const one of data.objects(data.object(status.ike).connections).map(data.object))
			pairs.push([ 'IKE', [ [ one.peer, one.state, one.suite ].filter((part) => part).join(', '), one.rekey_in == null ? '' : ', ' + _('new keys in %s').format(data.duration(one.rekey_in)) ] ]);

		if (data.number(data.object(status.ike).certificate_ends))
			pairs.push([ _('Certificate'), _('until %s').format(new Date(data.number(status.ike.certificate_ends) * 1000).toLocaleDateString()) ]);

		for (const one of data.objects(status.flows))
			pairs.push([ _('Flow %s').format(one.name), one.problem ? String(one.problem) : data.list(one.active).concat(one.active && !Array.isArray(one.active) ? [ one.active ] : []).join(', ') || '–' ]);

		return E('dl', { 'class': 'dsmip-card' }, pairs.reduce((all, pair) => all.concat([
			E('dt', {}, [ pair[0] ]), E('dd', {}, Array.isArray(pair[1]) ? pair[1] : [ E('bdi', {}, [ String(pair[1]) ]) ])
		]), []));
	},

	renderActions: function() {
		const disabled = this.writable ? null : true;
		const button = (name, kind, text, act) => this.shown[name] = E('button', {
			'class': 'btn cbi-button cbi-button-' + kind, 'data-action': name, 'disabled': disabled, 'click': ui.createHandlerFn(this, act)
		}, [ text ]);

		return E('div', { 'class': 'dsmip-actions' }, [
			button('test', 'action', _('Test failover …'), 'test'),
			button('choose', 'neutral', _('Choose by rank again'), () => this.order(data.handover('auto'))),
			button('pause', 'neutral', _('Pause all'), () => this.order(data.hold('', true))),
			button('resume', 'apply', _('Resume all'), () => this.order(data.hold('', false))),
			E('button', { 'class': 'btn cbi-button', 'data-action': 'diagnostics', 'click': ui.createHandlerFn(this, 'diagnostics') }, [ _('Save diagnostics') ])
		]);
	},

	/* All are paused, or some are not: one of the two can be asked for. */
	drawButtons: function(status) {
		const known = data.objects(status.uplinks);
		const held = known.filter((uplink) => uplink.held).length;

		this.shown.pause.style.display = held < known.length ? '' : 'none';
		this.shown.resume.style.display = held ? '' : 'none';
	},

	order: function(reply) {
		return reply.then(L.bind(function(said) {
			if (said.error)
				ui.addNotification(null, E('p', {}, [ _('The daemon refused: %s').format(said.error) ]), 'error');

			return this.look();
		}, this));
	},

	test: function() {
		const known = data.objects(data.object(this.status).uplinks);
		const active = known.find((uplink) => uplink.active);

		failover.show(active ? String(active.name) : '', !known.some((uplink) => picture.part(uplink) == 'standby'));
	},

	/* All that is known here and what was configured, without what is secret in it. */
	diagnostics: function() {
		return Promise.all([ data.check(), L.resolveDefault(uci.load('dsmip'), null), data.samples('coarse') ]).then(L.bind(function(replies) {
			const sections = replies[1] == null ? null : uci.sections('dsmip');

			files.save('dsmip-diagnostics.json', 'application/json', JSON.stringify(files.cleaned({
				written: new Date().toISOString(), browser: navigator.userAgent, clock_ahead: this.skew(),
				status: this.status || null, handovers: this.handovers || [], check: replies[0], configuration: sections,
				samples: this.samples.fine, day: replies[2]
			}), null, 1));
		}, this));
	},

	renderSpans: function() {
		const tab = (span, text) => E('button', { 'class': 'btn cbi-button', 'data-span': span, 'aria-pressed': String(this.span == span), 'click': L.bind(function(event) {
			this.span = span;
			event.currentTarget.parentNode.querySelectorAll('button').forEach((one) => one.setAttribute('aria-pressed', String(one == event.currentTarget)));
			this.fill(span);

			if (this.status)
				this.drawPlots(this.status);
		}, this) }, [ text ]);

		return E('div', { 'class': 'dsmip-actions dsmip-tabs' }, [ tab('fine', _('5 minutes')), tab('coarse', _('24 hours')) ]);
	},

	drawPlots: function(status) {
		const names = data.objects(status.uplinks).map((uplink) => String(uplink.name));
		const scale = this.span == 'fine' ? data.FINE : data.COARSE;
		const samples = this.samples[this.span];
		const to = Date.now() / 1000, from = to - scale.every * scale.keep;
		const skew = this.skew();
		const marks = (this.handovers || []).filter((one) => !one.event).map((one) => ({
			at: data.number(one.time) + skew, text: '%s → %s: %s'.format(one.from || '–', one.to || '–', handoverText(one))
		}));

		dom.content(this.shown.legend, names.map((name, index) => E('span', {}, [
			E('i', { 'style': 'background:' + draw.colour(index) }), name
		])));
		dom.content(this.shown.plots, [
			E('h4', {}, [ _('Throughput by uplink') ]), plot.throughput(samples, names, from, to, marks),
			E('h4', {}, [ _('Round-trip time') ]),
			plot.lines(_('Round-trip time'), 'rtt', data.milliseconds, 20, samples, names, from, to, marks),
			E('h4', {}, [ _('Loss') ]),
			plot.lines(_('Loss'), 'loss', (value) => '%d %%'.format(value), 5, samples, names, from, to, marks)
		]);
	},

	drawHistory: function() {
		const known = this.handovers.length ? this.handovers[this.handovers.length - 1] : {};
		const state = JSON.stringify([ this.handovers.length, known ]);

		if (state == this.drawn)
			return;

		this.drawn = state;

		const gaps = plot.gaps(this.handovers);

		dom.content(this.shown.gaps, gaps.count ? [
			gaps.node, ' ', _('half within %s, 95 %% within %s').format(data.milliseconds(gaps.p50), data.milliseconds(gaps.p95))
		] : []);
		dom.content(this.shown.history, table(
			[ _('Time'), _('From'), _('To'), _('Reason') ].concat(PHASES.map((phase) => phase[1]()), [ _('Gap'), _('Lost') ]),
			this.handovers.slice().reverse().map((one) => E('tr', { 'class': 'tr' + (one.event ? ' dsmip-event' : '') }, [
				cell(new Date(data.number(one.time) * 1000).toLocaleString(), _('Time')),
				cell(one.event ? '–' : String(one.from || '–'), _('From')),
				cell(one.event ? [ String(one.to || ''), ' ', E('span', { 'class': 'dsmip-tag ' + (one.event == 'portal passed' ? 'good' : 'busy') }, [ (EVENTS[one.event] || (() => String(one.event)))() ]) ]
					: '%s (%s)'.format(one.to || '–', picture.kind(one.kind)), _('To')),
				cell(String(one.reason || ''), _('Reason'))
			].concat(PHASES.map((phase) => cell(data.milliseconds(data.object(one.phases_ms)[phase[0]]), phase[1]())), [
				cell(one.gap_ms == null ? '–' : [ E('b', {}, [ E('bdi', {}, [ data.milliseconds(one.gap_ms) ]) ]) ], _('Gap')),
				cell(one.packets_lost == null ? '–' : String(one.packets_lost), _('Lost'))
			]))),
			_('No handover yet.')));
	},

	renderExports: function() {
		return E('div', { 'class': 'dsmip-actions' }, [
			E('button', { 'class': 'btn cbi-button', 'click': L.bind(() => files.save('dsmip-handovers.csv', 'text/csv', files.csv(this.handovers || [])), this) }, [ _('Save as CSV') ]),
			E('button', { 'class': 'btn cbi-button', 'click': L.bind(() => files.save('dsmip-handovers.json', 'application/json', JSON.stringify(this.handovers || [], null, 1)), this) }, [ _('Save as JSON') ])
		]);
	}
});
