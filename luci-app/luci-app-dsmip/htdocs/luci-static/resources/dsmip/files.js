// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dsmip.data as data';

/* Files for the user: handovers as a table, and what helps to find a fault. */

const PHASES = [ 'link', 'address', 'update_sent', 'acknowledged', 'first_packet' ];

/* Options and fields whose value is a secret, and some that only sound like it. */
const SECRET = /(^|_)(key|psk|ppk|secret|password|passphrase|token)$/;
const PUBLIC = /^(public_key|next_key)$/;
const REMOVED = '(removed)';

/* A cell that a spreadsheet takes for text, whatever it begins with. */
function quoted(value) {
	const text = String(value == null ? '' : value);

	return '"' + (/^[=+\-@\t\r]/.test(text) && isNaN(text) ? "'" : '') + text.replace(/"/g, '""') + '"';
}

/* What may be shown to others: no secrets, and of a portal's address no ticket. */
function cleaned(value, name) {
	if (Array.isArray(value))
		return value.map((one) => cleaned(one, name));

	if (value != null && typeof(value) == 'object')
		return Object.fromEntries(Object.entries(value).map((entry) => [ entry[0], cleaned(entry[1], entry[0]) ]));

	if (value != null && value !== '' && SECRET.test(name || '') && !PUBLIC.test(name))
		return REMOVED;

	return (typeof(value) == 'string') ? value.replace(/(https?:\/\/[^\s?#]+)[?#]\S*/g, '$1?' + REMOVED) : value;
}

return baseclass.extend({
	/* Hand a file to the user. */
	save: function(name, type, text) {
		const link = E('a', { 'href': URL.createObjectURL(new Blob([ text ], { 'type': type })), 'download': name });

		document.body.appendChild(link);
		link.click();
		document.body.removeChild(link);
		window.setTimeout(() => URL.revokeObjectURL(link.href), 1000);
	},

	csv: function(handovers) {
		const titles = [ 'number', 'time', 'event', 'from', 'to', 'kind', 'reason', 'gap_ms', 'packets_lost' ].concat(PHASES);
		const rows = handovers.map((one) => titles.map(function(title) {
			if (title == 'time')
				return quoted(new Date(data.number(one.time) * 1000).toISOString());

			return quoted((title in one) ? one[title] : data.object(one.phases_ms)[title]);
		}).join(','));

		return [ titles.join(',') ].concat(rows).join('\r\n') + '\r\n';
	},

	cleaned: cleaned
});
