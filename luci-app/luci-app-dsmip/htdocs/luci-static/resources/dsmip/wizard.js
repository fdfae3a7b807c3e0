// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dom';
'require network';
'require uci';
'require ui';
'require dsmip.data as data';
'require dsmip.options as options';

/*
 * From a token, or from the home agent's address or domain and a key, to a configuration.
 * What it writes stands in the form before it is saved.
 */

const NEVER = [ 'loopback', 'lan' ];

/* Addresses are told from names by their signs. */
function isAddress(text) {
	return text.indexOf(':') >= 0 || /^\d+(\.\d+){3}$/.test(text);
}

function isKey(text) {
	return /^(0x)?([0-9a-fA-F]{2}){16,}$/.test(text);
}

/* The prefix that an address with a length is in: the bits after it are none. */
function prefixOf(address, length) {
	const halves = address.split('::');
	const words = (text) => text ? text.split(':') : [];
	const head = words(halves[0]), tail = halves.length > 1 ? words(halves[1]) : [];
	const all = head.concat(new Array(Math.max(8 - head.length - tail.length, 0)).fill('0'), tail).map((word) => parseInt(word, 16));

	return all.map((word, index) => {
		const bits = Math.min(Math.max(length - 16 * index, 0), 16);

		return (word & (0xffff << (16 - bits)) & 0xffff).toString(16);
	}).join(':') + '/' + length;
}

/* Take sections of that type out, all but what is kept. */
function clear(config, types) {
	for (const type of types)
		uci.sections(config, type).map((one) => one['.name']).forEach((name) => uci.remove(config, name));
}

function write(config, section) {
	const name = /^[A-Za-z0-9_]+$/.test(section.name || '') && !uci.get(config, section.name) ? section.name : null;
	const id = section.type == 'globals' && uci.get(config, 'globals') ? 'globals' : uci.add(config, section.type, name);
	const values = data.object(section.values);

	for (const option in values)
		uci.set(config, id, option, Array.isArray(values[option]) ? values[option].map(String) : String(values[option]));

	return id;
}

/* Uplinks that were chosen; those that are there already stay as they are. */
function takeUplinks(config, chosen) {
	const there = uci.sections(config, 'uplink').map((one) => one.interface);

	for (const name of chosen)
		if (there.indexOf(name) < 0)
			write(config, { type: 'uplink', name: name, values: { interface: name } });
}

/* The tunnel as an interface of netifd, which hands the prefix out to the LAN. */
function takeInterface() {
	if (uci.sections('network', 'interface').some((one) => one.proto == 'dsmip'))
		return;

	const taken = uci.get('network', 'mobile');
	const id = uci.add('network', 'interface', taken ? 'mobility' : 'mobile');

	uci.set('network', id, 'proto', 'dsmip');

	/* The firewall's zone has "mobile" in it from the start. */
	if (taken)
		uci.set('network', id, 'zone', 'dsmip');
}

/* What the hand-typed form says, as sections, or why it cannot be. */
function typed(values) {
	const router = { identity: values.name };

	if (!values.name || options.name(null, values.name) !== true)
		return { error: _('A name without spaces, at most 255 characters.') };

	if (!values.anchor)
		return { error: _('The home agent’s address or its domain is missing.') };

	const agents = values.anchor.split(/[\s,]+/).filter((one) => one);

	if (agents.every(isAddress)) {
		const home = /^([0-9a-fA-F:.]+)\/(\d{1,3})$/.exec(values.home);

		if (!home || home[1].indexOf(':') < 0 || Number(home[2]) > 128 || Number(home[2]) < 1)
			return { error: _('With an address: the home address with the length of its prefix is needed, such as 2001:db8:1::100/64.') };

		if (!agents.some((one) => one.indexOf(':') >= 0))
			return { error: _('The home agent’s IPv6 address is needed too, separated by a space.') };

		if (!values.key)
			return { error: _('A key is missing.') };

		if (!isKey(values.key) && (!values.agent || options.name(null, values.agent) !== true))
			return { error: _('With a secret: what the home agent calls itself is needed.') };

		Object.assign(router, { home_agent: agents, home_address: home[1], home_prefix: prefixOf(home[1], Number(home[2])), mode: 'implicit' },
			isKey(values.key) ? { static_key: values.key } : { keys: 'ikev2', psk: values.key, home_agent_identity: values.agent });
	}
	else if (agents.length == 1) {
		router.domain = agents[0];

		if (!values.key && !values.certified)
			return { error: _('A key is missing.') };

		if (values.key)
			Object.assign(router, { keys: 'ikev2', auth: 'psk', psk: values.key });
	}
	else {
		return { error: _('Either one domain, or addresses.') };
	}

	return { sections: [ { type: 'mobile_router', name: 'router', values: router } ] };
}

return baseclass.extend({
	/* Interfaces that may be uplinks: name, and whether one is up with a default route. */
	load: function() {
		return L.resolveDefault(Promise.all([ network.getNetworks(), network.getWANNetworks(), network.getWAN6Networks(), uci.load('network') ]), [ [], [], [] ])
			.then(function(replies) {
				const wan = replies[1].concat(replies[2]).map((one) => one.getName());

				const able = replies[0].filter((one) => NEVER.indexOf(one.getName()) < 0 && one.getProtocol() != 'dsmip' && one.getProtocol() != 'none');
				const sixth = (one) => one.getProtocol() == 'dhcpv6' ? 1 : 0;

				/* wan and wan6 are one uplink: of a device the first counts, and it has both families. */
				return able.sort((a, b) => sixth(a) - sixth(b)).filter((one, index) => !one.getIfname()
						|| able.findIndex((other) => other.getIfname() == one.getIfname()) == index)
					.map((one) => ({ name: one.getName(), likely: wan.indexOf(one.getName()) >= 0 || /^w?wan/.test(one.getName()) }));
			});
	},

	show: function(config, candidates, done) {
		const field = (name, label, hint, node) => E('div', { 'class': 'cbi-value' }, [
			E('label', { 'class': 'cbi-value-title', 'for': 'dsmip-wizard-' + name }, [ label ]),
			E('div', { 'class': 'cbi-value-field' }, [ node, E('div', { 'class': 'cbi-value-description' }, [ hint || '' ]) ])
		]);
		const input = (name, attributes) => E('input', Object.assign({ 'id': 'dsmip-wizard-' + name, 'class': 'cbi-input-text', 'type': 'text', 'autocomplete': 'off', 'spellcheck': 'false' }, attributes));
		const token = E('textarea', { 'id': 'dsmip-wizard-token', 'class': 'cbi-input-textarea', 'rows': 4, 'style': 'width:100%', 'spellcheck': 'false' });
		const anchor = input('anchor', { 'placeholder': 'mobile.example.org' }), name = input('name', { 'placeholder': 'bus-17' });
		const home = input('home', { 'placeholder': '2001:db8:1::100/64' }), key = input('key', { 'type': 'password' });
		const agent = input('agent', { 'placeholder': 'ha.example.org' });
		const agentField = field('agent', _('Home agent’s identity'), _('What it calls itself by IKEv2.'), agent);
		const homeField = field('home', _('Home address'), _('With the length of the home prefix.'), home);
		const byHand = E('div', {}, [
			field('anchor', _('Home agent'), _('Its domain; or its addresses, IPv6 and IPv4.'), anchor),
			homeField,
			field('name', _('Name'), _('By which the home agent knows this router.'), name),
			field('key', _('Key'), _('Hexadecimal digits are a static key, anything else a secret for IKEv2. With a domain and certificates none.'), key),
			agentField
		]);
		const byToken = E('div', {}, [ field('token', _('Enrolment token'), _('From “dsmip enroll”, or the home agent’s page.'), token) ]);
		const chosen = candidates.map((one) => E('input', { 'type': 'checkbox', 'value': one.name, 'checked': one.likely ? '' : null }));
		const told = E('div', { 'id': 'dsmip-wizard-told', 'role': 'alert' });
		const say = (text) => dom.content(told, [ E('p', { 'class': 'alert-message error' }, [ text ]) ]);
		let hand = false;

		const draw = function() {
			const text = anchor.value.trim();

			byHand.style.display = hand ? '' : 'none';
			byToken.style.display = hand ? 'none' : '';
			const addressed = text && text.split(/[\s,]+/).every(isAddress);

			homeField.style.display = addressed ? '' : 'none';
			agentField.style.display = addressed && key.value.trim() && !isKey(key.value.trim()) ? '' : 'none';
			tabs.forEach((one) => one.setAttribute('aria-pressed', String((one.dataset.way == 'hand') == hand)));
		};
		const tab = (way, text) => E('button', { 'class': 'btn cbi-button', 'data-way': way, 'click': function() {
			hand = way == 'hand';
			draw();
		} }, [ text ]);
		const tabs = [ tab('token', _('With a token')), tab('hand', _('By hand')) ];

		anchor.addEventListener('input', draw);
		key.addEventListener('input', draw);
		draw();

		const finish = L.bind(function() {
			const uplinks = chosen.filter((one) => one.checked).map((one) => one.value);
			const asked = hand ? Promise.resolve(typed({ anchor: anchor.value.trim(), name: name.value.trim(), key: key.value.trim(), home: home.value.trim(),
					agent: agent.value.trim(), certified: uci.sections(config, 'ike').some((one) => one.certificate) }))
				: token.value.trim() ? data.token(token.value.trim()) : Promise.resolve({ error: _('There is no token yet.') });

			return asked.then(function(reply) {
				/* The daemon may guess at uplinks; what was chosen here is no guess. */
				const sections = data.objects(reply.sections).filter((one) => one.type != 'uplink' || !uplinks.length);

				if (reply.error || !sections.some((one) => one.type == 'mobile_router'))
					return say(String(reply.error || _('The token is not one for a mobile router.')));

				if (!uplinks.length && !sections.some((one) => one.type == 'uplink'))
					return say(_('Choose at least one uplink.'));

				clear(config, sections.map((one) => one.type).filter((type, index, all) => type != 'globals' && all.indexOf(type) == index));
				sections.forEach((one) => write(config, one));
				takeUplinks(config, uplinks);
				takeInterface();

				if (!uci.get(config, 'globals'))
					uci.add(config, 'globals', 'globals');

				uci.set(config, 'globals', 'enabled', '1');
				ui.hideModal();

				return done().then(() => ui.addNotification(null, E('p', {}, [
					_('The form is filled in. Look it over, then Save & Apply.'),
					data.list(reply.files).length ? ' ' + _('Keys are in %s.').format(data.list(reply.files).join(', ')) : ''
				]), 'info'));
			});
		}, this);

		ui.showModal(_('Set up a mobile router'), [
			E('div', { 'class': 'dsmip-actions dsmip-tabs' }, tabs), byToken, byHand,
			field('uplinks', _('Uplinks'), _('Networks that lead to the Internet; their order can be changed later.'), E('div', {}, candidates.length
				? candidates.map((one, index) => E('label', { 'style': 'display:block' }, [ chosen[index], ' ', one.name ]))
				: [ E('em', {}, [ _('There is no interface besides the LAN.') ]) ])),
			told,
			E('div', { 'class': 'right' }, [
				E('button', { 'class': 'btn cbi-button', 'click': ui.hideModal }, [ _('Cancel') ]), ' ',
				E('button', { 'class': 'btn cbi-button cbi-button-positive important', 'data-action': 'fill', 'click': ui.createHandlerFn(this, finish) }, [ _('Fill in') ])
			])
		]);
	},

	prefixOf: prefixOf
});
