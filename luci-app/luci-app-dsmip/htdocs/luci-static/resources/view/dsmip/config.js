// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require view';
'require dom';
'require form';
'require uci';
'require ui';
'require dsmip.data as data';
'require dsmip.options as options';
'require dsmip.style as style';
'require dsmip.wizard as wizard';

const CONFIG = 'dsmip';

function has(type) {
	return uci.sections(CONFIG, type).length > 0;
}

/* A section of which there is one at most. */
function single(map, type, title, description) {
	const section = map.section(form.TypedSection, type, title, description);

	section.anonymous = true;
	section.addremove = true;
	section.renderSectionAdd = function() {
		return this.cfgsections().length ? E([]) : form.TypedSection.prototype.renderSectionAdd.apply(this, arguments);
	};

	return section;
}

/* Rows that are edited in a dialog. */
function rows(map, type, title, description) {
	const section = map.section(form.GridSection, type, title, description);

	section.anonymous = true;
	section.addremove = true;
	section.sortable = true;
	section.nodescriptions = true;
	section.modaltitle = title;

	return section;
}

function service(map) {
	const s = map.section(form.NamedSection, 'globals', 'globals', _('Service'));
	const add = (...args) => options.add(s, ...args);

	s.addremove = false;
	s.tab('general', _('General'));
	s.tab('advanced', _('Advanced'));
	add('general', 'enabled', 'flag', _('Enabled'), _('Start with the router, and when this is saved.'), { rmempty: false });
	add('general', 'log_level', 'choice debug info warning error', _('Log'), null, { default: 'info' });
	add('general', 'data_path', 'choice - auto kernel portable', _('Data path'), _('Usual is the kernel module if it is there; portable needs none and is slower.'));
	add('advanced', 'port', 'integer 1 65535', _('UDP port'), null, { placeholder: '4191' });
	add('advanced', 'device', 'text', _('Device'), _('The name of the tunnel’s interface.'), { placeholder: 'mip0' });
	add('advanced', 'history', 'integer 1 10000', _('Handovers kept'), null, { placeholder: '200' });
	add('advanced', 'forwarding', 'whether', _('Forward packets'));
	add('advanced', 'keep_state', 'whether', _('Keep bindings while the service is stopped'));
	options.rest(s, 'advanced');
}

function router(map) {
	const s = single(map, 'mobile_router', _('Mobile router'), _('The home agent’s operator gives these values, or all of them in one enrolment token.'));
	const add = (...args) => options.add(s, ...args);
	const addressed = (made) => (made.depends({ domain: '', home_agent_name: '' }), made);

	s.tab('general', _('General'));
	s.tab('secrets', _('Keys'));
	s.tab('network', _('Network'));
	s.tab('handover', _('Handover'));
	s.tab('advanced', _('Advanced'));

	add('general', 'enabled', 'flag', _('Enabled'), null, { default: '1' });
	add('general', 'identity', 'name', _('Name'), _('By which the home agent knows this router.'));
	add('general', 'domain', 'host', _('Domain'), _('Instead of all addresses below: the home agent is found in DNS, addresses come by IKEv2.'));
	add('general', 'home_agent_name', 'host', _('Home agent’s name'), _('Instead of a domain: the name of the one home agent.')).depends('domain', '');
	addressed(add('general', 'home_agent', 'list address', _('Home agent'), _('Its IPv6 and its IPv4 address.')));
	addressed(add('general', 'home_address', 'home', _('Home address'), _('“auto”: IKEv2 brings it.'), { placeholder: '2001:db8:1::100' }));
	addressed(add('general', 'home_prefix', 'prefix6', _('Home prefix'), null, { placeholder: '2001:db8:1::/64' }));
	add('general', 'home_address4', 'home4', _('IPv4 home address'), _('“request”: the home agent gives one.'));

	options.credentials(s, 'secrets', true);
	add('secrets', 'home_agent_identity', 'name', _('Home agent’s identity'), _('Who it must prove to be, if not what its address or name says.'));
	add('secrets', 'prefix_discovery', 'whether', _('Protect prefix discovery'));
	add('secrets', 'ppk_id', 'text', _('Name of the post-quantum key'));
	add('secrets', 'ppk', 'secret', _('Post-quantum key'), 'RFC 8784').depends('ppk_id', /./);

	add('network', 'mode', 'choice - explicit implicit', _('Who names the prefixes'), _('Explicit: this router, in each update. Implicit: the home agent knows them.'));
	add('network', 'delegated_prefixes', 'integer 0 8', _('Prefixes to ask for'), _('The home agent delegates them by DHCPv6.'), { placeholder: '0' });
	add('network', 'delegated_length', 'integer 0 128', _('Their length'), null, { placeholder: '64' });
	add('network', 'lan', 'list text', _('LAN devices'), _('Where the mobile network is, if netifd does not hand prefixes out.'));
	add('network', 'advertise', 'whether', _('Advertise prefixes there'));
	add('network', 'dns', 'list address6', _('Name servers to advertise'));
	add('network', 'route_optimisation', 'whether', _('Direct paths'), _('Packets to hosts that understand it go straight, not by way of the home agent.'));

	add('handover', 'multihoming', 'whether', _('Register all uplinks'), _('The next one is ready before the first is lost; flows may choose.'));
	add('handover', 'probe', 'number 0 3600', _('Seconds between probes'), _('Of round trip and loss of each registered uplink; 0 for none.'), { placeholder: '1' });
	add('handover', 'silent_ms', 'integer 0 30000', _('Silence that means loss'), _('Milliseconds; 0: only what the link says counts.'));
	add('handover', 'hysteresis', 'number 0 3600', _('Wait before a better uplink is used'), _('Seconds that it must last.'));
	add('handover', 'keepalive', 'integer 1 86400', _('Keepalive through NAT'), _('Seconds.'));
	add('handover', 'portal_url', 'portal', _('Question for captive portals'), _('“auto”: the home agent’s address, nobody else. “none”: nobody is asked.'), { placeholder: 'auto' });
	add('handover', 'portal_answer', 'text', _('Answer without a portal'), _('A status such as 204, or a text that is in it.')).depends('portal_url', /^http:/);
	add('handover', 'portal_login', 'whether', _('Log in from the LAN'), _('Browsers of the LAN reach a captive portal’s login, and nothing else there.'));

	add('advanced', 'lifetime', 'integer 4 262140', _('Lifetime'), _('Seconds that are asked for.'));
	add('advanced', 'force_udp', 'whether', _('Always in UDP'));
	add('advanced', 'other_home_agents', 'list address6', _('Other home agents'));
	add('advanced', 'discover', 'whether', _('Look for home agents of the home link'));
	add('advanced', 'dns_name', 'host', _('Own name in DNS'));
	add('advanced', 'deregister_on_stop', 'whether', _('Leave the home agent when the service stops'));
	options.rest(s, 'advanced');
}

function uplinks(map) {
	const s = rows(map, 'uplink', _('Uplinks'), _('The one further up is preferred, unless they have ranks.'));
	const add = (...args) => options.add(s, '', ...args);
	const more = { modalonly: true };

	add('interface', 'network', _('Interface'), null, { rmempty: false, optional: false, nocreate: true });
	add('name', 'label', _('Name'), _('How it is called on the pages; usual is the interface’s name.'));
	add('priority', 'integer 0 255', _('Rank'), _('Lower is preferred.'));
	add('metered', 'whether', _('Metered'), _('What it carries costs money. Usual: as netifd says.'));
	add('cost', 'integer 0 9', _('Cost class'), _('Uplinks of a lower class come first, whatever their rank.'), more);
	add('held', 'flag', _('Only when I say so'), null, { editable: false });
	add('portal', 'whether', _('May have a login page'), _('It is asked whether a captive portal is in the way.'), more);
	add('restart_after', 'number 0 86400', _('Restart after silence'), _('Seconds without an answer until its interface is restarted; 0 for never.'), Object.assign({ placeholder: '60' }, more));
	add('restart', 'program', _('Restart by'), _('A program instead of netifd.'), Object.assign({ placeholder: '/usr/bin/modem-reset' }, more));
	add('device', 'text', _('Device'), _('If it is not that of the interface.'), more);
	options.rest(s);
}

function networks(map) {
	const s = rows(map, 'prefix', _('Prefixes'), _('What the LAN is given. None: the home agent knows them.'));

	s.sortable = false;
	options.add(s, '', 'prefix', 'prefix', _('Prefix'), null, { rmempty: false, optional: false, placeholder: '2001:db8:100::/56' });
	options.add(s, '', 'delegate', 'whether', _('Hand out by netifd'));
}

function flows(map) {
	const s = rows(map, 'flow', _('Flows'), _('Which packets take which uplink, while several are registered. The first that fits counts.'));
	const add = (...args) => options.add(s, '', ...args);
	const more = { modalonly: true };

	add('name', 'label', _('Name'));
	add('uplinks', 'list text', _('Uplinks'), _('By name, the preferred one first.'));
	add('remote', 'prefix', _('Other side'), null, { placeholder: '2001:db8:5::/48' });
	add('protocol', 'text', _('Protocol'), null, { placeholder: 'udp' });
	add('remote_port', 'ports', _('Its port'));
	add('local', 'prefix', _('This side'), null, more);
	add('local_port', 'ports', _('Own port'), null, more);
	add('dscp', 'text', 'DSCP', null, Object.assign({ placeholder: 'ef' }, more));
	add('priority', 'integer 0 1000', _('Order'), null, more);
	add('weights', 'list integer 1 255', _('Weights'), _('One for each uplink: connections are spread.'), more);
	add('copies', 'whether', _('Copy each packet to two uplinks'), null, more);
	options.rest(s);
}

function agent(map) {
	const s = single(map, 'home_agent', _('Home agent'), _('On the machine that holds the prefixes.'));
	const add = (...args) => options.add(s, ...args);

	s.tab('general', _('General'));
	s.tab('pools', _('Pools'));
	s.tab('advanced', _('Advanced'));
	add('general', 'enabled', 'flag', _('Enabled'), null, { default: '1' });
	add('general', 'addresses', 'list address', _('Addresses'), _('Where routers find it: IPv6, and one IPv4.'));
	add('general', 'prefixes', 'list prefix', _('Home prefixes'));
	add('general', 'identity', 'name', _('Identity'), _('Who it proves to be by IKEv2.'));
	add('general', 'interface', 'device', _('Home link'), _('If there is one.'));
	add('pools', 'pool6', 'list prefix6', _('Home addresses from'));
	add('pools', 'pool', 'list prefix', _('IPv4 home addresses from'));
	add('pools', 'prefix_pool', 'list prefix6', _('Delegated prefixes from'));
	add('pools', 'delegated_length', 'integer 1 128', _('Their length'));
	add('pools', 'delegated_lifetime', 'integer 60 4294967295', _('Their lifetime'), _('Seconds.'));
	add('pools', 'dns', 'list address6', _('Name servers'), _('That routers are told of.'));
	add('advanced', 'lifetime', 'integer 4 262140', _('Lifetime'), _('Seconds that a binding is granted.'));
	add('advanced', 'nat_keepalive', 'integer 1 86400', _('Keepalive through NAT'), _('Seconds.'));
	add('advanced', 'force_udp', 'whether', _('Always in UDP'));
	add('advanced', 'multihoming', 'whether', _('Several care-of addresses'));
	add('advanced', 'flows', 'whether', _('Flows'));
	add('advanced', 'bindings_max', 'integer 1 1000000', _('Bindings at most'));
	add('advanced', 'preference', 'integer 0 65535', _('Preference'), _('Among the home agents of the link, higher comes first.'));
	add('advanced', 'discovery', 'whether', _('Answer who looks for home agents'));
	add('advanced', 'learn_table', 'integer 0 4294967295', _('Table for learned routes'));
	options.rest(s, 'advanced');
}

function peers(map) {
	const s = rows(map, 'peer', _('Routers'), _('Who may register here. Enrolment on the page “Home agent” writes them.'));
	const add = (...args) => options.add(s, '', ...args);
	const more = { modalonly: true };

	s.sortable = false;
	add('identity', 'name', _('Name'), null, { rmempty: false, optional: false });
	add('home_address', 'address6', _('Home address'), _('None: one of the pool.'));
	add('prefixes', 'list prefix', _('Prefixes'));
	add('home_address4', 'home4', _('IPv4 home address'), null, more);
	add('delegated_prefixes', 'integer 0 8', _('Prefixes it may ask for'), null, more);
	add('mobile_router', 'whether', _('Has a network behind it'), null, more);
	add('routing', 'whether', _('Speaks a routing protocol'), null, more);

	const before = s.children.length;

	options.credentials(s, '', false);
	options.rest(s);
	s.children.slice(before).forEach((child) => child.modalonly = true);
}

function ike(map) {
	const s = single(map, 'ike', 'IKEv2', _('Certificates and timers; only what differs from the usual.'));
	const add = (...args) => options.add(s, '', ...args);

	add('certificate', 'text', _('Certificate'), _('A file below /etc/dsmip.'));
	add('private_key', 'text', _('Private key'), _('A file below /etc/dsmip.'));
	add('authorities', 'list text', _('Authorities'), _('Files with certificates that others’ are signed by.'));
	add('proposals', 'list text', _('Proposals'));
	add('esp_proposals', 'list text', _('ESP proposals'));
	add('dpd', 'number 0 86400', _('Silence until the other side is asked'), _('Seconds.'));
	add('rekey_ike', 'number 0 31536000', _('New IKE keys after'), _('Seconds.'));
	add('rekey_child', 'number 0 31536000', _('New ESP keys after'), _('Seconds.'));
	options.rest(s);
}

/* What few need: all its options as lines. */
function others(map) {
	for (const [ type, title, most ] of [
		[ 'dns_update', _('Name server for routers’ names'), 1 ], [ 'correspondent', _('Correspondent'), 1 ], [ 'ike_radius', 'RADIUS', 1 ],
		[ 'ike_connection', _('IKE connections'), 0 ], [ 'ike_child', _('Their child SAs'), 0 ]
	]) {
		if (!has(type))
			continue;

		const s = most ? single(map, type, title) : rows(map, type, title);

		if (type == 'ike_connection' || type == 'ike_child')
			options.add(s, '', 'name', 'label', _('Name'));

		if (type == 'ike_child')
			options.add(s, '', 'connection', 'label', _('Connection'));

		options.rest(s);
	}
}

return view.extend({
	load: function() {
		return Promise.all([ uci.load(CONFIG), data.check(), wizard.load() ]);
	},

	render: function(loaded) {
		/* A role that is configured now has a page, which the menu in the browser does not know. */
		document.addEventListener('uci-applied', () => ui.menu.flushCache());

		const faults = data.list(data.object(loaded[1]).faults);
		const place = E('div');

		this.candidates = loaded[2];

		if (faults.length && (has('mobile_router') || has('home_agent')))
			ui.addNotification(_('The configuration has faults'), E('ul', {}, faults.map((fault) => E('li', {}, [
				typeof(fault) == 'string' ? fault : JSON.stringify(fault)
			]))), 'warning');

		return this.renderForm(place).then(() => E([ style.node(), place ]));
	},

	/* The wizard before it, for who has nothing yet; tabs of the roles that there are. */
	renderForm: function(place) {
		const m = new form.Map(CONFIG);
		const fresh = !has('mobile_router') && !has('home_agent') && !has('correspondent') && !has('ike_connection');

		m.tabbed = true;
		service(m);

		if (has('mobile_router')) {
			router(m);
			uplinks(m);
			networks(m);
			flows(m);
		}

		if (has('home_agent')) {
			agent(m);
			peers(m);
		}

		if (!fresh)
			ike(m);

		others(m);

		return m.render().then(L.bind(function(node) {
			/* A map that is saved draws itself anew, and only what is its own. */
			dom.content(place, [
				E('h2', {}, [ _('Mobility') ]),
				E('div', { 'class': 'cbi-map-descr' }, [
					_('Every host on the LAN keeps its address and its sessions, whichever network the router is connected to.')
				]),
				this.renderStart(m, place, fresh),
				node
			]);
		}, this));
	},

	renderStart: function(map, place, fresh) {
		const again = L.bind(function() {
			return this.renderForm(place);
		}, this);
		const button = (kind, action, text, act) => E('button', {
			'class': 'btn cbi-button cbi-button-' + kind, 'data-action': action, 'disabled': map.readonly || null, 'click': ui.createHandlerFn(this, act)
		}, [ text ]);
		/* What is typed already stays. */
		const role = (type, name) => () => map.parse().then(() => {
			uci.add(CONFIG, type, name);

			return again();
		}, () => null);
		const buttons = [];

		buttons.push(button(fresh ? 'action important' : 'neutral', 'wizard', has('mobile_router') ? _('Set up anew …') : _('Set up a mobile router …'),
			() => wizard.show(CONFIG, this.candidates, again)));

		if (!has('mobile_router') && !fresh)
			buttons.push(button('neutral', 'router', _('Also a mobile router'), role('mobile_router', 'router')));

		if (!has('home_agent'))
			buttons.push(button('neutral', 'agent', fresh ? _('Set up a home agent') : _('Also a home agent'), role('home_agent', 'agent')));

		return E('div', { 'class': fresh ? 'dsmip-strip dsmip-welcome busy' : 'dsmip-start' }, [
			fresh ? E('h4', {}, [ _('Nothing is configured yet') ]) : '',
			fresh ? E('p', {}, [ _('A router that moves needs its home agent’s address or domain and a key, or an enrolment token that has all of it. On the machine that holds the prefixes set up a home agent.') ]) : '',
			E('div', { 'class': 'dsmip-actions' }, buttons)
		]);
	}
});
