// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require view';
'require dom';
'require poll';
'require dsmip.data as data';
'require dsmip.enrol as enrol';
'require dsmip.faults as faults';
'require dsmip.fleet as fleet';
'require dsmip.picture as picture';
'require dsmip.rows as rows';
'require dsmip.style as style';

const ENTRIES = 500;
/* Days before its end that a certificate is worth a word, and looks between two of the audit. */
const SOON = 30, AUDIT_EVERY = 3;

const CSS = [
	'.dsmip-rows th button{all:unset;cursor:pointer;font-weight:inherit}.dsmip-rows th button:focus-visible{outline:2px solid currentColor}',
	'.dsmip-rows th[aria-sort=ascending] button::after{content:" ▲"}.dsmip-rows th[aria-sort=descending] button::after{content:" ▼"}',
	'.dsmip-rows .number{text-align:end;font-variant-numeric:tabular-nums}',
	'.dsmip-rows td:first-child,.dsmip-rows th:first-child{position:sticky;inset-inline-start:0;background:var(--background-color-high,Canvas)}',
	'.dsmip-rows th:first-child{z-index:2}.dsmip-rows td:first-child{font-weight:bold;z-index:1}',
	'.dsmip-rows td:first-child[colspan]{position:static;font-weight:normal}',
	'.dsmip-dot::before{content:"";display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-inline-end:.4em;box-sizing:border-box;border:2px solid currentColor}',
	'.dsmip-dot.online::before{background:#009e73;border-color:#009e73}.dsmip-dot.late::before{background:#e69f00;border-color:#e69f00}',
	'.dsmip-dot.absent::before{border-color:#d55e00}.dsmip-rows .absent{opacity:.75}',
	'.dsmip-list{height:auto;max-height:60vh;background:var(--background-color-high,Canvas)}.dsmip-list table{border-collapse:separate;border-spacing:0}',
	'.dsmip-page .cbi-section{margin-bottom:1.2em}.dsmip-actions{align-items:center}.dsmip-actions input,.dsmip-actions select{margin:0}',
	'.dsmip-actions input[type=search]{flex:0 1 22em;min-width:12em}.dsmip-form input[type=text]{width:100%;max-width:26em;box-sizing:border-box}.dsmip-form .cbi-value-field{flex:1 1 16em;min-width:0}',
	'.dsmip-made code{white-space:nowrap}.dsmip-form .right{justify-content:flex-end}',
	'.dsmip-soon{color:#d55e00;font-weight:bold}',
	'.dsmip-found{align-self:center;opacity:.8}.dsmip-list.dsmip-short{max-height:22em}',
	'.dsmip-figures{display:flex;flex-wrap:wrap;gap:.3em 2em;margin:.3em 0 .8em}.dsmip-figures b{font-size:150%}',
	'.dsmip-made{display:flex;flex-wrap:wrap;gap:1.2em;align-items:flex-start}.dsmip-made>div{flex:1 1 16em;min-width:0}',
	'.dsmip-qr{width:min(100%,22em);height:auto;flex:0 0 auto}.dsmip-token{width:100%;box-sizing:border-box;font-family:monospace;overflow-wrap:anywhere}',
	'@media (max-width:600px){.dsmip-rows td:first-child{max-width:9em;overflow:hidden;text-overflow:ellipsis}.dsmip-actions input[type=search]{flex:1 1 100%}}'
].join('');

/* Of each count what it means and what to look for; the numbers are those of the registry of Mobile IPv6. */
const REASONS = {
	128: () => _('no reason given'), 129: () => _('not permitted by the operator'), 130: () => _('no room left'),
	131: () => _('no home registrations here'), 132: () => _('home address not of this home link'), 133: () => _('not the home agent of this router'),
	134: () => _('home address in use by another'), 135: () => _('old or repeated message'), 136: () => _('expired home nonce'),
	137: () => _('expired care-of nonce'), 138: () => _('expired nonces'), 139: () => _('another kind of registration'),
	140: () => _('not permitted as a mobile router'), 141: () => _('prefix that makes no sense'), 142: () => _('prefix of somebody else'),
	143: () => _('prefixes cannot be forwarded'), 144: () => _('identity does not fit, or UDP refused'), 145: () => _('message identifier missing'),
	146: () => _('authentication failed'), 164: () => _('malformed care-of addresses'), 165: () => _('single binding stands in the way'),
	166: () => _('several care-of addresses not permitted'), 167: () => _('unknown care-of address'), 168: () => _('several in one update not permitted'),
	169: () => _('home and abroad at once not permitted'), 171: () => _('IPv4 home address of somebody else'), 174: () => _('care-of address of no use'),
	177: () => _('delegated prefix of somebody else'), 178: () => _('delegated prefix in use')
};

const STATES = { online: () => _('online'), late: () => _('late'), absent: () => _('absent') };

function careOf(one) {
	const at = data.object(one.care_of);

	return at.address ? String(at.address) + (at.port ? ' port %d'.format(at.port) : '') : '–';
}

function wire(one) {
	return one.absent ? '–' : picture.kind(data.object(one.care_of).kind) + (one.nat ? ', NAT' : '');
}

function homes(one) {
	return [ one.home_address, one.home_address4 ].filter((address) => address).join(', ');
}

function gap(one) {
	const silent = data.object(one.last_move).silent_ms;

	return typeof(silent) == 'number' ? silent : null;
}

function moment(seconds) {
	return new Date(data.number(seconds) * 1000).toLocaleString();
}

function dot(one) {
	const state = fleet.state(one);

	return E('span', {
		'class': 'dsmip-dot ' + state,
		'title': one.absent ? _('not registered') : _('Heard %s ago').format(data.duration(one.updated_ago))
	}, [ STATES[state]() ]);
}

function certificate(one) {
	const days = fleet.days(one.certificate_ends);

	if (days == null)
		return '–';

	return E('span', { 'class': days < SOON ? 'dsmip-soon' : null, 'title': moment(one.certificate_ends) }, [
		days < 0 ? _('ended') : days < SOON ? N_(Math.floor(days), '%d day', '%d days').format(Math.floor(days)) : new Date(one.certificate_ends * 1000).toLocaleDateString()
	]);
}

function known(value) {
	return (typeof(value) == 'number' && isFinite(value)) ? value : null;
}

const FILTERS = [
	[ '', () => _('all'), () => true ],
	[ 'online', () => _('online'), (one) => fleet.state(one) == 'online' ],
	[ 'late', () => _('not heard of lately'), (one) => fleet.state(one) == 'late' ],
	[ 'absent', () => _('not registered'), (one) => one.absent ],
	[ 'ip6', () => 'IPv6', (one) => data.object(one.care_of).kind == 'ip6' ],
	[ 'ip4', () => 'IPv4', (one) => data.object(one.care_of).kind == 'ip4' ],
	[ 'udp4', () => 'UDP/IPv4', (one) => data.object(one.care_of).kind == 'udp4' ],
	[ 'nat', () => _('behind NAT'), (one) => !!one.nat ],
	[ 'ends', () => _('certificate ends soon'), (one) => fleet.days(one.certificate_ends) != null && fleet.days(one.certificate_ends) < SOON ]
];

function searchField(label, call) {
	return E('input', { 'type': 'search', 'class': 'cbi-input-text', 'placeholder': label, 'aria-label': label, 'input': (event) => call(event.target.value) });
}

return view.extend({
	handleSave: null,
	handleSaveApply: null,
	handleReset: null,

	load: function() {
		return data.status();
	},

	render: function(status) {
		this.shown = {};
		this.missed = 0;
		this.looks = 0;
		this.listed = 0;
		this.fleet = new fleet.Fleet();

		const place = (name, attributes) => this.shown[name] = E('div', Object.assign({ 'id': 'dsmip-' + name }, attributes));

		this.table = new rows.Rows([
			[ _('Router'), (one) => String(one.identity), 'wide', (one) => String(one.identity) ],
			[ _('State'), dot, null, (one) => one.absent ? null : known(one.updated_ago) ],
			[ _('Care-of address'), careOf, 'wide', (one) => one.absent ? null : careOf(one) ],
			[ _('Wire'), wire, null, wire ],
			[ _('Prefixes'), (one) => data.list(one.prefixes).join(', ') || '–', 'wide', (one) => data.list(one.prefixes)[0] || null ],
			[ _('RTT'), (one) => data.milliseconds(known(one.rtt_ms)), 'number', (one) => known(one.rtt_ms) ],
			[ _('Throughput'), (one) => one.rate == null ? '–' : data.bits(one.rate), 'number', (one) => known(one.rate) ],
			[ _('Last gap'), (one) => gap(one) == null ? '–' : E('span', {
				'title': _('Nothing was heard for so long before it registered from %s at %s; a router with nothing to send is silent, too.')
					.format(one.last_move.to, moment(one.last_move.time))
			}, [ '≤ ' + data.milliseconds(gap(one)) ]), 'number', gap ],
			[ _('Certificate'), certificate, null, (one) => known(one.certificate_ends) ],
			[ _('Home address'), homes, 'wide', homes ],
			[ _('Data'), (one) => one.absent ? '–' : '%s ↓ %s ↑'.format(data.bytes(data.object(one.traffic).rx_bytes), data.bytes(data.object(one.traffic).tx_bytes)), 'number',
				(one) => one.absent ? null : data.number(data.object(one.traffic).rx_bytes) + data.number(data.object(one.traffic).tx_bytes) ],
			[ _('Registered for'), (one) => one.absent ? '–' : data.duration(one.registered_for), 'number', (one) => known(one.registered_for) ]
		], _('Loading …'));

		this.table.sortBy(0);
		this.entries = new rows.Rows([
			[ _('Router'), (one) => String(one.identity || '–'), 'wide', (one) => String(one.identity) ],
			[ _('Time'), (one) => moment(one.time), null, (one) => known(one.time) ],
			[ _('What'), (one) => one.event == 'registered' ? _('registered') : one.event == 'ended' ? _('ended') : one.event == 'changed' ? _('changed') : String(one.event) ],
			[ _('Gained'), (one) => data.list(one.gained).join(', ') || '–', 'wide' ],
			[ _('Lost'), (one) => data.list(one.lost).join(', ') || '–', 'wide' ],
			[ _('Home address'), homes, 'wide' ],
			[ _('Care-of address'), (one) => String(one.care_of || '–'), 'wide' ]
		], _('Loading …'));
		this.entries.set([]);
		this.entries.node.classList.add('dsmip-short');

		const filter = E('select', {
			'class': 'cbi-input-select', 'aria-label': _('Filter'),
			'change': (event) => {
				this.table.filter(FILTERS.find((one) => one[0] == event.target.value)[2]);
				this.drawFound();
			}
		}, FILTERS.map((one) => E('option', { 'value': one[0] }, [ one[1]() ])));
		const writable = L.hasViewPermission();

		const page = E('div', { 'class': 'dsmip-page' }, [
			style.node(),
			E('style', { 'type': 'text/css' }, [ CSS ]),
			E('h2', {}, [ _('Home agent') ]),
			place('absent'),
			place('strip', { 'role': 'status', 'aria-live': 'polite' }),
			E('div', { 'class': 'cbi-section' }, [
				E('h3', {}, [ _('Routers') ]),
				E('div', { 'class': 'dsmip-actions' }, [
					searchField(_('Search: name, address, prefix'), (text) => { this.table.search(text); this.drawFound(); }),
					filter,
					E('button', {
						'class': 'btn cbi-button cbi-button-add', 'id': 'dsmip-enrol-open', 'disabled': writable ? null : 'disabled',
						'title': writable ? null : _('You may look, but not change anything.'), 'click': () => enrol.open(L.bind(this.look, this))
					}, [ _('Enrol a router') ]),
					place('found', { 'class': 'dsmip-found' })
				]),
				this.table.node
			]),
			E('div', { 'class': 'cbi-section' }, [ E('h3', {}, [ _('Updates') ]), place('counters') ]),
			E('div', { 'class': 'cbi-section' }, [ E('h3', {}, [ _('Prefixes') ]), place('prefixes') ]),
			E('div', { 'class': 'cbi-section' }, [
				E('h3', {}, [ _('Who got which prefix') ]),
				E('div', { 'class': 'dsmip-actions' }, [
					searchField(_('Search: name, address, prefix'), (text) => this.entries.search(text)),
					place('audited', { 'class': 'dsmip-found' })
				]),
				this.entries.node
			])
		]);

		this.take(status);
		this.more();

		poll.add(L.bind(this.look, this), 3);
		this.onvisible = L.bind(function() {
			if (!document.hidden)
				this.look();
		}, this);
		document.addEventListener('visibilitychange', this.onvisible);

		return page;
	},

	/* Nobody looks at a hidden page, and one question at a time is enough. */
	look: function() {
		if (document.hidden || this.asking)
			return Promise.resolve();

		if (!this.table.node.isConnected) {
			document.removeEventListener('visibilitychange', this.onvisible);

			return Promise.resolve();
		}

		this.asking = true;

		return data.status().then(L.bind(function(status) {
			this.asking = false;
			this.take(status);

			return this.more();
		}, this), L.bind(function() {
			this.asking = false;
		}, this));
	},

	take: function(status) {
		if (status.error || !status.home_agent) {
			if (++this.missed > 3 || !this.status) {
				const why = status.error || _('This machine is no home agent.');

				dom.content(this.shown.absent, status.error ? faults.absent(why) : E('p', { 'class': 'alert-message' }, [ why ]));
			}

			return;
		}

		this.missed = 0;
		this.status = status;
		dom.content(this.shown.absent, []);
		this.draw();
	},

	/* Everything of which there is much. */
	more: function() {
		if (!this.status || this.missed || this.asking)
			return Promise.resolve();

		const audit = (this.looks++ % AUDIT_EVERY) ? Promise.resolve(null) : fleet.audit('', ENTRIES);
		const list = L.bind(this.list, this);

		this.asking = true;

		return Promise.all([ audit, this.fleet.look(list) ])
			.then(L.bind(function(replies) {
				if (replies[0] && !replies[0].error)
					this.takeAudit(replies[0]);

				return this.fleet.refresh(this.table.visible());
			}, this))
			.then(list)
			.finally(L.bind(function() {
				this.asking = false;
			}, this));
	},

	list: function() {
		const now = Date.now(), fleet = this.fleet.rows;

		/* While ten thousand come, each page of them is not worth drawing. */
		if (!this.fleet.complete() && now - this.listed < 500)
			return;

		this.listed = now;

		if (this.fleet.complete())
			this.table.empty = _('No router is enrolled, or none matches.');

		const rows = this.table.all.filter((row) => fleet.has(row.address));
		const listed = new Set(rows.map((row) => row.address));

		for (const address of fleet.keys())
			if (!listed.has(address))
				rows.push({ address: address, value: null });

		for (const row of rows) {
			const one = fleet.get(row.address);

			if (row.value === one)
				continue;

			row.value = one;
			row.text = [ one.identity, careOf(one), homes(one), data.list(one.prefixes).join(' ') ].join(' ').toLowerCase();
		}

		this.table.set(rows);
		this.drawFound();
	},

	takeAudit: function(reply) {
		const entries = data.list(reply.entries).map(data.object);

		this.entries.empty = _('No router has registered since the daemon started, or none matches.');

		this.entries.set(entries.map((one) => ({
			value: one,
			text: [ one.identity, homes(one), one.care_of, data.list(one.gained).join(' '), data.list(one.lost).join(' ') ].join(' ').toLowerCase()
		})));
		dom.content(this.shown.audited, [ data.number(reply.total) > entries.length
			? _('the last %d of %d changes; dsmip audit has them all').format(entries.length, data.number(reply.total)) : '' ]);
	},

	draw: function() {
		const agent = data.object(this.status.home_agent);
		const item = (label, value) => E('span', { 'class': 'item' }, [ E('span', {}, [ label ]), ' ', E('b', {}, [ value ]) ]);
		const own = fleet.days(data.object(this.status.ike).certificate_ends);

		this.shown.strip.className = 'dsmip-strip ' + (own != null && own < SOON ? 'busy' : 'good');
		dom.content(this.shown.strip, [
			E('span', { 'class': 'state' }, [ _('%d of %d routers').format(data.number(agent.bindings), data.number(agent.routers)) ]),
			item(_('Addresses'), data.list(agent.addresses).join(', ')),
			item(_('Running for'), data.duration(this.status.uptime)),
			own == null ? E([]) : item(_('Own certificate ends'), new Date(data.object(this.status.ike).certificate_ends * 1000).toLocaleDateString())
		]);
		dom.content(this.shown.counters, this.drawCounters(data.object(agent.counters)));
		dom.content(this.shown.prefixes, this.drawPrefixes(agent));
	},

	drawCounters: function(counters) {
		const refused = Object.keys(counters).filter((name) => name.indexOf('bu_refused_') == 0)
			.map((name) => ({ code: name.substring(11), count: data.number(counters[name]) }))
			.sort((one, other) => other.count - one.count);
		const total = refused.reduce((sum, one) => sum + one.count, 0);
		const figure = (count, what) => E('span', {}, [ E('b', {}, [ String(count) ]), ' ', what ]);

		/* Open stays open when the numbers change. */
		const before = this.shown.counters.querySelector('details');

		return [
			E('div', { 'class': 'dsmip-figures' }, [
				figure(data.number(counters.bu_accepted), _('accepted')),
				figure(total, _('refused')),
				figure(data.number(counters.bu_deregistered), _('deregistered'))
			]),
			refused.length ? E('div', { 'class': 'dsmip-scroll' }, [ E('table', { 'class': 'table dsmip-table', 'id': 'dsmip-refused' }, [
				E('tr', { 'class': 'tr table-titles' }, [ E('th', { 'class': 'th' }, [ _('Refused') ]), E('th', { 'class': 'th' }, [ _('Status') ]), E('th', { 'class': 'th' }, [ _('Reason') ]) ])
			].concat(refused.map((one) => E('tr', { 'class': 'tr' }, [
				E('td', { 'class': 'td' }, [ String(one.count) ]), E('td', { 'class': 'td' }, [ one.code ]),
				E('td', { 'class': 'td' }, [ (one.code in REASONS) ? REASONS[one.code]() : '–' ])
			])))) ]) : E([]),
			E('details', before && before.open ? { 'open': '' } : {}, [
				E('summary', {}, [ _('All counters') ]),
				E('dl', { 'class': 'dsmip-card' }, Object.keys(counters).sort().reduce((all, name) => all.concat([
					E('dt', {}, [ name ]), E('dd', {}, [ String(counters[name]) ])
				]), []))
			])
		];
	},

	drawPrefixes: function(agent) {
		const pools = data.list(agent.pools).map(data.object), leases = data.list(agent.delegated).map(data.object);
		const of = { 'prefixes': _('prefixes'), 'home addresses': _('home addresses'), 'IPv4 home addresses': _('IPv4 home addresses') };
		const parts = [ E('dl', { 'class': 'dsmip-card' }, [
			E('dt', {}, [ _('Home prefixes') ]), E('dd', {}, [ data.list(agent.prefixes).join(', ') || '–' ])
		].concat(pools.reduce((all, pool) => all.concat([
			E('dt', {}, [ _('Pool of %s').format(of[pool.of] || String(pool.of)) ]),
			E('dd', { 'data-pool': String(pool.prefix) }, [
				String(pool.prefix), ' – ', data.number(pool.size) < 1e9 ? _('%d of %d in use').format(data.number(pool.used), data.number(pool.size)) : _('%d in use').format(data.number(pool.used)),
				E('div', { 'class': 'dsmip-bar' }, [ E('div', { 'style': 'width:%f%%'.format(Math.min(100 * data.number(pool.used) / Math.max(data.number(pool.size), 1), 100)) }) ])
			])
		]), []))) ];

		if (leases.length)
			parts.push(E('details', { 'open': leases.length < 20 ? '' : null }, [
				E('summary', {}, [ _('Delegated prefixes: %d').format(leases.length) ]),
				E('dl', { 'class': 'dsmip-card' }, leases.slice(0, ENTRIES).reduce((all, one) => all.concat([
					E('dt', {}, [ String(one.identity || '') ]), E('dd', {}, [ String(one.prefix || '') ])
				]), []))
			]));

		return parts;
	},

	drawFound: function() {
		const found = this.table.found.length, all = this.table.all.length, total = this.fleet.total();
		const text = _('%d of %d').format(found, all);

		dom.content(this.shown.found, [ this.fleet.complete() ? text : text + ' ' + _('(%d in all, more are coming)').format(total) ]);
	}
});
