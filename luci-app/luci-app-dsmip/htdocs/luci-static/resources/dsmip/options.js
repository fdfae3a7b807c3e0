// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require form';
'require uci';
'require tools.widgets as widgets';

/*
 * Fields for the options of /etc/config/dsmip. What the daemon would refuse is said here
 * before it is saved; what has no field of its own is a line "name=value".
 */

function name(section, value) {
	if (!value)
		return true;

	return value.length <= 255 && !/[\s\u0000-\u001f]/.test(value) || _('A name without spaces, at most 255 characters.');
}

function hexadecimal(section, value) {
	if (!value)
		return true;

	if (!/^(0x)?[0-9a-fA-F]+$/.test(value) || value.replace('0x', '').length % 2)
		return _('Hexadecimal digits, two for each octet: openssl rand -hex 32');

	return value.replace('0x', '').length >= 32 || _('Too short: at least 16 octets.');
}

function prefix(section, value) {
	if (!value)
		return true;

	const parts = /^([0-9a-fA-F:.]+)\/(\d{1,3})$/.exec(value);
	const most = value.indexOf(':') < 0 ? 32 : 128;

	return (parts && Number(parts[2]) >= 1 && Number(parts[2]) <= most) || _('An address with a prefix length, such as 2001:db8:100::/56.');
}

function label(section, value) {
	return (!value || value.length <= 64) || _('At most 64 characters.');
}

function ports(section, value) {
	const parts = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(value || '');

	return !value || (parts && Number(parts[1]) <= Number(parts[2] || parts[1]) && Number(parts[2] || parts[1]) <= 65535 && Number(parts[1]) > 0)
		|| _('A port, or two with a dash: 5060-5080.');
}

function portalUrl(section, value) {
	return !value || value == 'auto' || value == 'none' || /^http:\/\/[^\s/]+(\/\S*)?$/.test(value) || _('“auto”, “none” or an address that begins with http://');
}

function program(section, value) {
	return !value || value.charAt(0) == '/' || _('A program by its absolute path, with its arguments.');
}

/* A number with decimals, from low to high. */
function between(low, high) {
	return function(section, value) {
		return !value || (/^\d+(\.\d+)?$/.test(value) && Number(value) >= low && Number(value) <= high) || _('A number from %s to %s.').format(low, high);
	};
}

const KINDS = {
	text: () => ({}),
	name: () => ({ validate: name }),
	label: () => ({ validate: label }),
	host: () => ({ datatype: 'hostname' }),
	address: () => ({ datatype: 'ipaddr("nomask")' }),
	address6: () => ({ datatype: 'ip6addr("nomask")' }),
	home: () => ({ datatype: 'or("auto",ip6addr("nomask"))' }),
	home4: () => ({ datatype: 'or("request",ip4addr("nomask"))' }),
	prefix6: () => ({ datatype: 'cidr6' }),
	prefix: () => ({ validate: prefix }),
	ports: () => ({ validate: ports }),
	hex: () => ({ validate: hexadecimal, password: true }),
	secret: () => ({ password: true }),
	portal: () => ({ validate: portalUrl }),
	program: () => ({ validate: program }),
	integer: (low, high) => ({ datatype: 'range(%d,%d)'.format(low, high) }),
	number: (low, high) => ({ validate: between(low, high) })
};

/* A field: its kind, title, description, and what else LuCI's option takes. */
function add(section, tab, option, kind, title, description, more) {
	const words = kind.split(' '), list = words[0] == 'list' ? words.shift() : null;
	const type = words[0] == 'network' ? widgets.NetworkSelect : words[0] == 'device' ? widgets.DeviceSelect : words[0] == 'flag' ? form.Flag
		: words[0] == 'choice' || words[0] == 'whether' ? form.ListValue : list ? form.DynamicList : form.Value;
	const made = tab ? section.taboption(tab, type, option, title, description) : section.option(type, option, title, description);

	if (words[0] == 'choice')
		words.slice(1).forEach((one) => made.value(one == '-' ? '' : one, one == '-' ? _('as usual') : one));
	else if (words[0] == 'whether')
		[ [ '', _('as usual') ], [ '1', _('yes') ], [ '0', _('no') ] ].forEach((one) => made.value(one[0], one[1]));
	else if (KINDS[words[0]])
		Object.assign(made, KINDS[words[0]].apply(null, words.slice(1).map(Number)));

	made.optional = true;

	return Object.assign(made, more);
}

/* All that has no field: so nothing of the file is out of reach. */
function rest(section, tab) {
	const made = tab ? section.taboption(tab, form.DynamicList, '_rest', _('More options'), _('Each as name=value, as the documentation has them. “dsmip check-config --uci” knows all of them.'))
		: section.option(form.DynamicList, '_rest', _('More options'), _('Each as name=value, as the documentation has them. “dsmip check-config --uci” knows all of them.'));
	const config = section.map.config;
	const known = () => section.children.map((child) => child.option);
	const others = (id) => Object.entries(uci.get(config, id) || {}).filter((entry) => entry[0].charAt(0) != '.' && entry[0] != 'enabled' && known().indexOf(entry[0]) < 0);

	made.optional = true;
	made.modalonly = true;
	made.placeholder = 'name=value';
	made.load = made.cfgvalue = (id) => others(id).reduce((all, entry) => all.concat(L.toArray(Array.isArray(entry[1]) ? entry[1] : [ entry[1] ]).map((value) => entry[0] + '=' + value)), []);
	made.validate = function(id, value) {
		const parts = /^([a-z][a-z0-9_]*)=(.+)$/.exec(value || '');

		if (!value)
			return true;

		if (!parts)
			return _('Each as name=value.');

		return known().indexOf(parts[1]) < 0 || _('%s has a field of its own.').format(parts[1]);
	};
	made.write = function(id, values) {
		const wanted = {};

		for (const text of L.toArray(Array.isArray(values) ? values : [ values ])) {
			const at = text.indexOf('='), option = text.substring(0, at);

			wanted[option] = (wanted[option] || []).concat([ text.substring(at + 1) ]);
		}

		others(id).forEach((entry) => wanted[entry[0]] || uci.unset(config, id, entry[0]));

		for (const option in wanted)
			uci.set(config, id, option, wanted[option].length > 1 ? wanted[option] : wanted[option][0]);
	};
	made.remove = (id) => others(id).forEach((entry) => uci.unset(config, id, entry[0]));

	return made;
}

/* Who makes the keys of a router's entry, and of what; the same on both sides. */
function credentials(section, tab, router) {
	let o;

	o = add(section, tab, 'keys', 'choice', _('Keys'), _('Static: one key that both sides hold. IKEv2: keys are made anew, from a secret or certificates.'));
	[ [ '', router ? _('static; with a domain IKEv2') : _('static') ], [ 'static', _('static') ], [ 'ikev2', 'IKEv2' ], [ 'external', _('another program') ] ].forEach((one) => o.value(one[0], one[1]));

	o = add(section, tab, 'static_key', 'hex', _('Static key'));
	o.depends('keys', '');
	o.depends('keys', 'static');

	o = add(section, tab, 'auth', 'choice', _('Proof'), _('With what both sides prove who they are.'));
	[ [ '', router ? _('secret; with a domain certificates') : _('secret') ], [ 'psk', _('secret') ], [ 'certificate', _('certificates') ], [ 'public-key', _('public keys') ],
		[ 'eap-mschapv2', _('password (EAP)') ], [ 'eap-tls', 'EAP-TLS' ] ].forEach((one) => o.value(one[0], one[1]));

	if (!router)
		o.depends('keys', 'ikev2');
	else
		[ '', 'ikev2' ].forEach((one) => o.depends('keys', one));

	o = add(section, tab, 'psk', 'secret', _('Pre-shared key'));
	o.depends({ keys: 'ikev2', auth: '' });
	o.depends({ keys: 'ikev2', auth: 'psk' });

	if (router)
		o.depends({ keys: '', auth: 'psk' });

	o = add(section, tab, 'password', 'secret', _('Password'));
	o.depends('auth', 'eap-mschapv2');
	o = add(section, tab, 'public_key', 'text', _('Public key'), _('A file below /etc/dsmip.'));
	o.depends('auth', 'public-key');

	o = add(section, tab, 'payload', 'choice', _('Encrypt payload'));
	[ [ '', _('no') ], [ 'inside', _('yes, inside the tunnel') ], [ 'rfc4877', _('yes, as RFC 4877 has it') ] ].forEach((one) => o.value(one[0], one[1]));

	return section;
}

return baseclass.extend({
	add: add,
	rest: rest,
	credentials: credentials,
	hexadecimal: hexadecimal,
	name: name
});
