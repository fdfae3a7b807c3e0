// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require rpc';
'require dsmip.data as data';

/*
 * What the home agent's page knows of its routers. Lists come in pages; those that
 * are to be seen are asked for anew all the time, the rest of many one page at a time.
 */

const PAGE = 250;
/* As many as the daemon answers for at once. */
const VISIBLE = 100;

const callBindings = rpc.declare({ object: 'luci.dsmip', method: 'bindings', params: [ 'match', 'after', 'limit' ] });
const callAbsent = rpc.declare({ object: 'luci.dsmip', method: 'absent', params: [ 'after', 'limit' ] });
const callRouters = rpc.declare({ object: 'luci.dsmip', method: 'routers', params: [ 'addresses' ] });
const callAudit = rpc.declare({ object: 'luci.dsmip', method: 'audit', params: [ 'match', 'limit' ] });
const callEnroll = rpc.declare({ object: 'luci.dsmip', method: 'enroll', params: [ 'identity', 'prefixes', 'payload', 'again' ] });

/* A binding that was not heard of for so long a part of its lifetime is late. */
const LATE = 0.75;

function answered(promise) {
	return Promise.resolve(promise).then(function(reply) {
		return (reply != null && typeof(reply) == 'object') ? reply : { error: _('The daemon did not answer.') };
	}, function(error) {
		return { error: String((error && error.message) || error) };
	});
}

/* Octets since the last look as bit/s; null when there was none. */
function rate(one, before, seconds) {
	const now = data.object(one.traffic), then = data.object(before && before.traffic);

	if (!before || before.absent || !(seconds > 0.2))
		return (before && before.rate != null) ? before.rate : null;

	const grown = data.number(now.rx_bytes) + data.number(now.tx_bytes) - data.number(then.rx_bytes) - data.number(then.tx_bytes);

	return Math.max(grown, 0) * 8 / seconds;
}

/* A walk through a list in pages: which of its rows are still there is known at its end. */
const Walk = baseclass.extend({
	__init__: function(ask, name) {
		this.ask = ask;
		this.name = name;
		this.after = '';
		this.seen = {};
		this.ended = false;
		this.total = 0;
	},

	/* Resolves to { rows, seen } or { error }; seen, all that the list had, comes with its last page. */
	step: function() {
		return answered(this.ask(this.after)).then(L.bind(function(reply) {
			if (reply.error)
				return reply;

			const rows = data.list(reply[this.name]).filter((one) => data.object(one).home_address);
			const next = String(reply.next || '');
			const step = { rows: rows, seen: null };

			for (const one of rows)
				this.seen[one.home_address] = true;

			this.total = data.number(reply.total);

			/* A list that does not go on is at its end, whatever it says. */
			if (next && next != this.after && rows.length) {
				this.after = next;

				return step;
			}

			step.seen = this.seen;
			this.after = '';
			this.seen = {};
			this.ended = true;

			return step;
		}, this));
	}
});

const Fleet = baseclass.extend({
	__init__: function() {
		this.rows = new Map();
		/* Those that a list had no more: registered meanwhile, absent, or removed. */
		this.doubts = new Set();
		this.walks = [
			new Walk((after) => callBindings('', after, PAGE), 'bindings'),
			new Walk((after) => callAbsent(after, PAGE), 'routers')
		];
	},

	/* Whether every router was seen once. */
	complete: function() {
		return this.walks.every((walk) => walk.ended);
	},

	total: function() {
		return this.walks.reduce((sum, walk) => sum + walk.total, 0);
	},

	put: function(one, absent, at) {
		const before = this.rows.get(one.home_address);

		one.absent = absent;
		one.at = at;
		one.rate = absent ? null : rate(one, before, before ? at - before.at : 0);
		this.rows.set(one.home_address, one);
	},

	/* The next page of each list; all pages the first time, with a call after each. */
	look: function(progress) {
		const due = this.complete() ? this.walks : this.walks.filter((walk) => !walk.ended);

		return Promise.all(due.map((walk) => walk.step().then(L.bind(function(step) {
			const absent = walk == this.walks[1];

			for (const one of step.rows || [])
				this.put(one, absent, Date.now() / 1000);

			if (step.seen)
				for (const entry of this.rows)
					if (entry[1].absent == absent && !step.seen[entry[0]])
						this.doubts.add(entry[0]);

			return step;
		}, this)))).then(L.bind(function(steps) {
			const failed = steps.find((step) => step.error);

			if (progress)
				progress();

			if (failed)
				return failed;

			return this.complete() ? {} : this.look(progress);
		}, this));
	},

	/* Those that can be seen, with their round trips, and those in doubt. */
	refresh: function(rows) {
		const doubts = Array.from(this.doubts).slice(0, VISIBLE / 2);
		const addresses = doubts.concat(rows.filter((one) => !one.absent && !this.doubts.has(one.home_address))
			.map((one) => one.home_address)).slice(0, VISIBLE);

		if (!addresses.length)
			return Promise.resolve({});

		return answered(callRouters(addresses.join(' '))).then(L.bind(function(reply) {
			if (reply.error)
				return reply;

			for (const address of doubts) {
				this.doubts.delete(address);
				this.rows.get(address).gone = true;
			}

			for (const one of data.list(reply.bindings))
				if (data.object(one).home_address)
					this.put(one, false, Date.now() / 1000);

			/* One that only is not registered comes again with the list of those. */
			for (const address of doubts)
				if (this.rows.get(address).gone)
					this.rows.delete(address);

			return reply;
		}, this));
	}
});

return baseclass.extend({
	Fleet: Fleet,

	audit: (match, limit) => answered(callAudit(match, limit)),
	enroll: (identity, prefixes, payload, again) => answered(callEnroll(identity, prefixes, payload, again ? 1 : 0)),

	/* "online", "late" or "absent". */
	state: function(one) {
		if (one.absent)
			return 'absent';

		return data.number(one.updated_ago) > LATE * data.number(one.lifetime) ? 'late' : 'online';
	},

	/* Days until a certificate ends; null without one. */
	days: function(ends) {
		return (typeof(ends) == 'number' && isFinite(ends)) ? (ends - Date.now() / 1000) / 86400 : null;
	}
});
