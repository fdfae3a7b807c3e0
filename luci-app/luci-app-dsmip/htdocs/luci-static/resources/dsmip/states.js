// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dsmip.data as data';

/* How a mobile router is, in a word, and whether that is good. */
const STATES = {
	'Roaming': [ 'good', () => _('Roaming') ],
	'At home': [ 'good', () => _('At home') ],
	'Switching': [ 'busy', () => _('Switching') ],
	'Returning home': [ 'busy', () => _('Returning home') ],
	'Looking for a home agent': [ 'busy', () => _('Looking for a home agent') ],
	'Portal login needed': [ 'bad', () => _('Portal login needed') ],
	'No uplink': [ 'bad', () => _('No uplink') ],
	'Refused by home agent': [ 'bad', () => _('Refused by home agent') ],
	'Home agent lost': [ 'bad', () => _('Home agent lost') ]
};

return baseclass.extend({
	of: function(status) {
		const router = data.object(status.mobile_router), uplinks = data.objects(status.uplinks);

		if (uplinks.length && uplinks.every((uplink) => uplink.held))
			return { kind: 'busy', word: _('Paused') };

		const found = Object.prototype.hasOwnProperty.call(STATES, router.state) ? STATES[router.state] : null;

		return found ? { kind: found[0], word: found[1]() } : { kind: 'busy', word: String(router.state || '?') };
	}
});
