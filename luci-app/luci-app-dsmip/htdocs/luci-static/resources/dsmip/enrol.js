// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dom';
'require ui';
'require dsmip.data as data';
'require dsmip.fleet as fleet';
'require dsmip.qr as qr';

/* As the daemon takes them; it has the last word. */
function badIdentity(text) {
	return !text.length || text.length > 255 || /\s/.test(text);
}

function badPrefixes(text) {
	return text.split(/[\s,]+/).filter((word) => word).some((word) => !/^[0-9a-fA-F:.]+\/\d{1,3}$/.test(word));
}

/* A page that came without TLS has no clipboard of its own. */
function copy(field, button) {
	const done = () => dom.content(button, [ _('Copied') ]);

	field.select();

	if (navigator.clipboard && window.isSecureContext)
		return navigator.clipboard.writeText(field.value).then(done, () => document.execCommand('copy') && done());

	if (document.execCommand('copy'))
		done();

	return Promise.resolve();
}

function row(title, field, hint) {
	return E('div', { 'class': 'cbi-value' }, [
		E('label', { 'class': 'cbi-value-title', 'for': field.id }, [ title ]),
		E('div', { 'class': 'cbi-value-field' }, [ field, hint ? E('div', { 'class': 'cbi-value-description' }, [ hint ]) : E([]) ])
	]);
}

/* What came of it: the token is shown once, and gone with the dialog. */
function made(reply, done) {
	const token = E('textarea', { 'readonly': 'readonly', 'rows': 5, 'class': 'cbi-input-textarea dsmip-token', 'aria-label': _('Token') }, [ String(reply.token) ]);
	const picture = qr.render(reply.qr, _('Token as QR code'));
	const ends = data.number(reply.expires);
	const button = E('button', { 'class': 'btn cbi-button cbi-button-action', 'type': 'button', 'click': () => copy(token, button) }, [ _('Copy') ]);

	return [
		reply.problem ? E('p', { 'class': 'alert-message warning' }, [ _('The router is enrolled, but the configuration could not be taken at once: %s').format(reply.problem) ]) : E([]),
		E('p', {}, [ _('This token is the whole configuration of %s, its secret too. It is shown only now.').format(reply.identity) ]),
		E('div', { 'class': 'dsmip-made' }, [
			picture ? picture : E('p', {}, [ E('em', {}, [ _('No QR code: %s').format(reply.no_qr || '–') ]) ]),
			E('div', {}, [
				token,
				E('p', { 'class': 'dsmip-actions' }, [ button ]),
				E('dl', { 'class': 'dsmip-card' }, [
					E('dt', {}, [ _('Home address') ]), E('dd', {}, [ String(reply.home_address) ]),
					E('dt', {}, [ _('Prefixes') ]), E('dd', {}, [ data.list(reply.prefixes).join(', ') || '–' ]),
					E('dt', {}, [ _('To be used until') ]), E('dd', {}, [ ends ? new Date(ends * 1000).toLocaleString() : '–' ])
				]),
				E('p', {}, [ _('On the router: Services, Mobility, paste it there; or'), ' ', E('code', {}, [ 'dsmip enroll --token --uci' ]) ])
			])
		]),
		E('div', { 'class': 'right' }, [ E('button', { 'class': 'btn', 'type': 'button', 'click': done }, [ _('Done') ]) ])
	];
}

return baseclass.extend({
	/* after is called when a router was enrolled. */
	open: function(after) {
		const identity = E('input', { 'type': 'text', 'id': 'dsmip-enrol-identity', 'class': 'cbi-input-text', 'placeholder': 'bus-17', 'autocomplete': 'off', 'spellcheck': 'false' });
		const prefixes = E('input', { 'type': 'text', 'id': 'dsmip-enrol-prefixes', 'class': 'cbi-input-text', 'placeholder': '2001:db8:100::/56 203.0.113.0/28', 'autocomplete': 'off' });
		const payload = E('select', { 'id': 'dsmip-enrol-payload', 'class': 'cbi-input-select' }, [
			E('option', { 'value': 'none' }, [ _('signalling only') ]),
			E('option', { 'value': 'inside' }, [ _('all packets (ESP inside the tunnel)') ])
		]);
		const again = E('input', { 'type': 'checkbox', 'id': 'dsmip-enrol-again' });
		const said = E('div', { 'id': 'dsmip-enrol-said', 'role': 'alert' });
		const body = E('div', { 'id': 'dsmip-enrol', 'class': 'dsmip-form' });

		const send = function() {
			const name = identity.value.trim(), networks = prefixes.value.trim();

			identity.classList.toggle('cbi-input-invalid', badIdentity(name));
			prefixes.classList.toggle('cbi-input-invalid', badPrefixes(networks));

			if (badIdentity(name) || badPrefixes(networks)) {
				dom.content(said, E('p', { 'class': 'alert-message error' }, [ badIdentity(name)
					? _('A router has a name without spaces.') : _('Prefixes look like 2001:db8:100::/56 or 203.0.113.0/28.') ]));

				return Promise.resolve();
			}

			dom.content(said, []);

			return fleet.enroll(name, networks, payload.value, again.checked).then(function(reply) {
				if (reply.error || !reply.token) {
					dom.content(said, E('p', { 'class': 'alert-message error' }, [ String(reply.error || _('The daemon did not answer.')) ]));

					return;
				}

				dom.content(body, made(reply, function() {
					dom.content(body, []);
					ui.hideModal();
				}));
				after();
			});
		};

		dom.content(body, [
			E('p', {}, [ _('The home agent makes a secret and an entry for the router, and a token that the router takes once.') ]),
			row(_('Name'), identity, _('How the router calls itself, such as bus-17.')),
			row(_('Prefixes'), prefixes, _('Networks behind the router, parted by spaces; none for a single host.')),
			row(_('Protected by IPsec'), payload),
			row(_('Another token'), again, _('For a router that is enrolled already: its entry stays as it is.')),
			said,
			E('div', { 'class': 'right dsmip-actions' }, [
				E('button', { 'class': 'btn', 'type': 'button', 'click': ui.hideModal }, [ _('Cancel') ]),
				E('button', { 'class': 'btn cbi-button cbi-button-positive', 'type': 'button', 'click': ui.createHandlerFn(this, send) }, [ _('Enrol') ])
			])
		]);
		ui.showModal(_('Enrol a router'), [ body ]);
		identity.focus();
	}
});
