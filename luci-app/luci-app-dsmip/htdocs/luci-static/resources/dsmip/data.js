// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require rpc';

/*
 * What the pages know: the daemon's one status document, asked for through
 * luci.dsmip, and how its counters grew while a page was open.
 */

const callStatus = rpc.declare({ object: 'luci.dsmip', method: 'status' });
const callHistory = rpc.declare({ object: 'luci.dsmip', method: 'history', params: [ 'limit' ] });
const callHandover = rpc.declare({ object: 'luci.dsmip', method: 'handover', params: [ 'uplink' ] });
const callCheck = rpc.declare({ object: 'luci.dsmip', method: 'check' });
const callHold = rpc.declare({ object: 'luci.dsmip', method: 'hold', params: [ 'uplink', 'held' ] });
const callFailover = rpc.declare({ object: 'luci.dsmip', method: 'failover', params: [ 'uplink', 'seconds' ] });
const callSamples = rpc.declare({ object: 'luci.dsmip', method: 'samples', params: [ 'span' ] });
const callToken = rpc.declare({ object: 'luci.dsmip', method: 'token', params: [ 'token' ] });

/* Seconds between samples and how many there are: five minutes, and a day. */
const FINE = { every: 1, keep: 300 };
const COARSE = { every: 60, keep: 1440 };

function number(value) {
	return (typeof(value) == 'number' && isFinite(value)) ? value : 0;
}

function list(value) {
	return Array.isArray(value) ? value : [];
}

function object(value) {
	return (value != null && typeof(value) == 'object' && !Array.isArray(value)) ? value : {};
}

/* Only what is an object: somebody else's list may have holes. */
function objects(value) {
	return list(value).filter((one) => one != null && typeof(one) == 'object' && !Array.isArray(one));
}

/* The bits of an address as a text of 0 and 1, nothing for what is none. */
function bits(address) {
	const four = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(address);
	const part = (value, radix, length) => parseInt(value, radix).toString(2).padStart(length, '0');

	if (four)
		return four.slice(1).map((one) => part(one, 10, 8)).join('');

	if (!/^[0-9a-fA-F:]*:[0-9a-fA-F:]*$/.test(address))
		return '';

	const words = (text) => text ? text.split(':') : [];
	const halves = address.split('::'), head = words(halves[0]), tail = words(halves[1]);

	return head.concat(new Array(Math.max(8 - head.length - tail.length, 0)).fill('0'), tail).map((one) => part(one, 16, 16)).join('');
}

/* Whether an address is in a prefix. */
function within(address, prefix) {
	const parts = String(prefix).split('/'), one = bits(String(address)), other = bits(parts[0]);

	return one !== '' && one.length == other.length && parts.length == 2 && one.substring(0, parts[1]) == other.substring(0, parts[1]);
}

/* A reply, or what is to be said when there is none. */
function answered(promise) {
	return Promise.resolve(promise).then(function(reply) {
		if (reply == null || typeof(reply) != 'object')
			return { error: _('The daemon did not answer.') };

		return reply;
	}, function(error) {
		return { error: String((error && error.message) || error) };
	});
}

/* Octets that an uplink has carried, both ways. */
function carried(uplink) {
	const sum = { rx: 0, tx: 0 };

	for (const path of objects(uplink.paths)) {
		const traffic = object(path.traffic);

		sum.rx += number(traffic.rx_bytes);
		sum.tx += number(traffic.tx_bytes);
	}

	return sum;
}

/* A series comes as a text, its values parted by commas, with nothing where nobody measured. */
function series(value) {
	const parts = Array.isArray(value) ? value : (typeof(value) == 'string' && value !== '') ? value.split(',') : [];

	return parts.map((one) => (one == null || one === '' || !isFinite(one)) ? null : Number(one));
}

/*
 * What the daemon has sampled, as samples of all uplinks: bit/s, ms, per cent; skew
 * is how far this computer's clock is ahead of the router's.
 */
function sampled(reply, skew) {
	const uplinks = object(reply.uplinks), found = [];
	const every = number(reply.every) || 1, to = number(reply.to) + skew;

	for (const name in uplinks) {
		const one = object(uplinks[name]);
		const rx = series(one.rx), tx = series(one.tx), rtt = series(one.rtt_ms), loss = series(one.loss_percent);

		rx.forEach(function(value, index) {
			const sample = found[index] = found[index] || { at: to - (rx.length - 1 - index) * every, uplinks: {} };

			if (value != null || rtt[index] != null)
				sample.uplinks[name] = { rx: 8 * number(value), tx: 8 * number(tx[index]), rtt: rtt[index], loss: loss[index] };
		});
	}

	return found.filter((sample) => sample && Object.keys(sample.uplinks).length);
}

/*
 * Samples of each uplink over time: those of the daemon, and each second what a
 * status document adds. An uplink that went, or a daemon that did, still has its past.
 */
const Samples = baseclass.extend({
	__init__: function() {
		this.fine = [];
		this.coarse = [];
		this.last = null;
	},

	/* Take the counters of a status document; at in seconds since the epoch. */
	take: function(status, at) {
		const now = { at: at, uplinks: {} };
		const rates = { at: at, uplinks: {} };
		const before = this.last;

		this.last = now;

		for (const uplink of objects(status.uplinks)) {
			const name = String(uplink.name || '');
			const sum = now.uplinks[name] = carried(uplink);
			const entry = { rx: 0, tx: 0, rtt: null, loss: null };

			if (before && before.uplinks[name] && at > before.at) {
				/* A path that is made anew counts from nothing. */
				const seconds = at - before.at;

				entry.rx = Math.max(sum.rx - before.uplinks[name].rx, 0) * 8 / seconds;
				entry.tx = Math.max(sum.tx - before.uplinks[name].tx, 0) * 8 / seconds;
			}

			if (uplink.rtt_ms != null)
				entry.rtt = number(uplink.rtt_ms);

			if (uplink.loss_percent != null)
				entry.loss = number(uplink.loss_percent);

			rates.uplinks[name] = entry;
		}

		if (!before)
			return;

		this.fine.push(rates);
		this.fine = this.fine.filter((sample) => at - sample.at < FINE.every * FINE.keep);
	},

	/* Take a span of the daemon's; what it has not, this page may have seen. */
	fill: function(span, found) {
		if (!found.length)
			return;

		const first = found[0].at, last = found[found.length - 1].at;

		this[span] = this[span].filter((sample) => sample.at < first).concat(found, this[span].filter((sample) => sample.at > last));
	}
});

return baseclass.extend({
	FINE: FINE,
	COARSE: COARSE,

	Samples: Samples,

	number: number,
	list: list,
	object: object,
	objects: objects,
	within: within,
	carried: carried,

	status: () => answered(callStatus()),
	history: (limit) => answered(callHistory(limit)),
	handover: (uplink) => answered(callHandover(uplink)),
	check: () => answered(callCheck()),
	hold: (uplink, held) => answered(callHold(uplink, held ? 1 : 0)),
	failover: (uplink, seconds) => answered(callFailover(uplink, seconds)),
	samples: (span) => answered(callSamples(span)),
	token: (token) => answered(callToken(token)),
	sampled: sampled,

	/* Octets a second as bit/s, in a form that fits beside a line. */
	bits: function(value) {
		const units = [ 'bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s' ];
		let unit = 0;

		while (value >= 1000 && unit < units.length - 1) {
			value /= 1000;
			unit++;
		}

		return (value >= 100 || unit == 0 ? value.toFixed(0) : value.toFixed(1)) + ' ' + units[unit];
	},

	bytes: function(value) {
		return '%1024.1mB'.format(number(value));
	},

	milliseconds: function(value) {
		return (value == null) ? '–' : '%s ms'.format(value < 10 ? number(value).toFixed(1) : number(value).toFixed(0));
	},

	/* In at most two units, as the command writes it. */
	duration: function(seconds) {
		const whole = Math.max(Math.round(number(seconds)), 0);

		if (whole < 60)
			return _('%d s').format(whole);

		if (whole < 3600)
			return _('%d min %02d s').format(whole / 60, whole % 60);

		if (whole < 86400)
			return _('%d h %02d min').format(whole / 3600, whole % 3600 / 60);

		return _('%d d %02d h').format(whole / 86400, whole % 86400 / 3600);
	},

	clock: function(seconds) {
		return new Date(number(seconds) * 1000).toLocaleTimeString();
	},

	/* Only what a browser may open: a portal's address comes from a foreign network. */
	link: function(address) {
		try {
			const url = new URL(String(address));

			return (url.protocol == 'http:' || url.protocol == 'https:') ? url.href : null;
		}
		catch (error) {
			return null;
		}
	}
});
