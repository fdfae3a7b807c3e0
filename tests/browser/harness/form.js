// SPDX-License-Identifier: GPL-2.0-only
/*
 * uci, form, network and tools.widgets as far as the configuration page uses them:
 * it is rendered, validated, filled in and saved as with LuCI's own. What is hidden
 * by another choice is taken out of the file; rows of a grid are edited in a dialog.
 */
(function(window) {
'use strict';

const Class = window.HarnessClass, built = window.HarnessBuilt, dom = built.dom;

/* --- uci ------------------------------------------------------------------------ */

const kept = {};
const call = {
	get: built.rpc.declare({ object: 'uci', method: 'get', params: [ 'config' ], expect: { values: {} }, reject: true }),
	set: built.rpc.declare({ object: 'uci', method: 'set', params: [ 'config', 'section', 'values' ], reject: true }),
	add: built.rpc.declare({ object: 'uci', method: 'add', params: [ 'config', 'type', 'name', 'values' ], expect: { section: '' }, reject: true }),
	remove: built.rpc.declare({ object: 'uci', method: 'delete', params: [ 'config', 'section', 'options' ], reject: true }),
	order: built.rpc.declare({ object: 'uci', method: 'order', params: [ 'config', 'sections' ], reject: true }),
	access: built.rpc.declare({ object: 'session', method: 'access', params: [ 'scope', 'object', 'function' ], expect: { access: false } })
};
const states = {};
let created = 0;

/* What is not saved yet of a file. */
function state(config) {
	return states[config] = states[config] || { added: {}, changed: {}, removed: {}, moved: false };
}

const uci = {
	load: (names) => Promise.all(L.toArray(names).filter((name) => !kept[name]).map((name) => call.get(name).then((values) => {
		kept[name] = values;

		return name;
	}))),
	unload: (name) => { delete kept[name]; },
	sections: function(config, type, fn) {
		const found = Object.values(kept[config] || {}).filter((one) => type == null || one['.type'] == type)
			.sort((a, b) => (a['.index'] || 0) - (b['.index'] || 0));

		if (fn)
			found.forEach((one) => fn(one, one['.name']));

		return found;
	},
	get: function(config, section, option) {
		const values = (kept[config] || {})[section];

		return values == null ? null : option == null ? values : values[option];
	},
	/* Nothing and the empty text take an option out. */
	set: function(config, section, option, value) {
		const values = (kept[config] || {})[section];

		if (!values)
			return;

		if (value == null || value === '')
			delete values[option];
		else
			values[option] = value;

		(state(config).changed[section] = state(config).changed[section] || {})[option] = true;
	},
	unset: (config, section, option) => uci.set(config, section, option, null),
	add: function(config, type, name) {
		const made = name || 'new%06x'.format(++created);

		kept[config][made] = { '.type': type, '.name': made, '.anonymous': !name, '.index': 1000 + created };
		state(config).added[made] = { type: type, name: name };

		return made;
	},
	remove: function(config, section) {
		delete kept[config][section];
		delete state(config).changed[section];

		if (state(config).added[section])
			delete state(config).added[section];
		else
			state(config).removed[section] = true;
	},
	move: function(config, one, other, after) {
		const order = uci.sections(config).filter((section) => section['.name'] != one);
		const at = other == null ? order.length : order.findIndex((section) => section['.name'] == other) + (after ? 1 : 0);

		order.splice(at, 0, kept[config][one]);
		order.forEach((section, index) => section['.index'] = index);
		state(config).moved = true;
	},
	save: () => Promise.all(Object.keys(states).map(function(config) {
		const { added, changed, removed, moved } = state(config), sent = [];
		const plain = (values) => Object.fromEntries(Object.entries(values || {}).filter((entry) => entry[0][0] != '.'));

		for (const section in removed)
			sent.push(() => call.remove(config, section));

		for (const section in added)
			sent.push(() => call.add(config, added[section].type, added[section].name, plain(kept[config][section])));

		for (const section in changed) {
			const values = plain(kept[config][section]), names = Object.keys(changed[section]);
			const gone = names.filter((name) => values[name] == null);

			if (added[section])
				continue;

			if (gone.length)
				sent.push(() => call.remove(config, section, gone));

			if (gone.length < names.length)
				sent.push(() => call.set(config, section, Object.fromEntries(names.filter((name) => values[name] != null).map((name) => [ name, values[name] ]))));
		}

		/* One after the other, as a batch of LuCI's. */
		return sent.reduce((before, send) => before.then(send), Promise.resolve()).then(() => moved ? call.order(config, uci.sections(config).map((one) => one['.name'])) : null).then(() => {
			delete states[config];
			uci.unload(config);

			return uci.load(config);
		});
	}))
};

/* --- datatypes ------------------------------------------------------------------- */

const four = (text) => /^\d{1,3}(\.\d{1,3}){3}$/.test(text) && text.split('.').every((part) => Number(part) < 256);

function six(text) {
	try {
		return text.includes(':') && !!new URL('http://[' + text + ']/');
	}
	catch (error) {
		return false;
	}
}

const types = {
	'uinteger': (value) => /^\d+$/.test(value),
	'range': (value, low, high) => /^-?\d+$/.test(value) && Number(value) >= Number(low) && Number(value) <= Number(high),
	'ip4addr': four,
	'ip6addr': six,
	'ipaddr': (value) => four(value) || six(value),
	'cidr6': (value) => six(value.split('/')[0]) && Number(value.split('/')[1]) <= 128 && value.includes('/'),
	'hostname': (value) => /^[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?$/.test(value) && value.length <= 253,
	'maxlength': (value, most) => value.length <= Number(most),
	'string': () => true
};

function suits(type, value) {
	const either = /^or\((.*)\)$/.exec(type);

	if (either)
		return either[1].split(/,(?![^(]*\))/).some((one) => /^"/.test(one) ? value == one.slice(1, -1) : suits(one, value));

	const words = /^(\w+)(?:\((.*)\))?$/.exec(type);

	return types[words[1]](value, ...(words[2] || '').split(','));
}

/* --- form ------------------------------------------------------------------------ */

const Value = Class.extend({
	__init__: function(section, option, title, description) {
		this.section = section;
		this.map = section.map;
		this.option = option;
		this.title = title;
		this.description = description;
		this.choices = [];
		this.deps = [];
		this.rmempty = true;
		this.inputs = {};
	},
	value: function(key, text) { this.choices.push([ String(key), text == null ? String(key) : text ]); },
	depends: function(option, value) { this.deps.push(typeof(option) == 'object' ? option : { [option]: value }); },
	list: false,

	load: function(section) { return uci.get(this.map.config, section, this.option); },
	cfgvalue: function(section) { return this.load(section); },
	textvalue: function(section) {
		const value = this.cfgvalue(section);

		return '%h'.format(L.toArray(value == null ? this.default : value).join(' '));
	},
	formvalue: function(section) {
		const values = (this.inputs[section] || []).map((input) => input.type == 'checkbox' ? (input.checked ? '1' : '0') : input.value.trim());

		return this.list ? values.filter((value) => value !== '') : (values[0] || '');
	},
	isActive: function(section) { return this.nodes && this.nodes[section] != null && !this.nodes[section].classList.contains('hidden'); },

	/* What is wrong with what is typed, true for nothing. */
	check: function(section) {
		const typed = this.formvalue(section), values = Array.isArray(typed) ? typed : [ typed ];

		for (const value of values.length ? values : [ '' ]) {
			if (value === '' && this.rmempty === false && !this.optional)
				return _('Expecting: %s').format(_('non-empty value'));

			if (value !== '' && this.datatype && !suits(this.datatype, value))
				return _('Expecting: %s').format(this.datatype);

			const told = this.validate ? this.validate(section, value) : true;

			if (told !== true)
				return told;
		}

		return true;
	},

	isValid: function(section) {
		const told = this.check(section);

		for (const input of this.inputs[section]) {
			input.classList.toggle('cbi-input-invalid', told !== true);

			if (told !== true)
				input.setAttribute('data-tooltip', told);
			else
				input.removeAttribute('data-tooltip');
		}

		return told === true;
	},

	input: function(value, attributes) {
		return E('input', Object.assign(attributes, { 'type': this.password ? 'password' : 'text', 'class': 'cbi-input-text', 'placeholder': this.placeholder,
			'value': value == null ? '' : value }));
	},

	render: function(section) {
		const given = this.cfgvalue(section), id = 'cbid.%s.%s.%s'.format(this.map.config, section, this.option);
		const values = this.list ? L.toArray(given).concat([ '' ]) : [ given == null ? this.default : given ];
		const inputs = values.map((value) => this.input(value, { 'id': 'widget.' + id, 'disabled': this.map.readonly || this.readonly || null }));
		const node = E('div', { 'class': 'cbi-value', 'id': 'cbi-%s-%s-%s'.format(this.map.config, section, this.option), 'data-name': this.option, 'data-field': id }, [
			E('label', { 'class': 'cbi-value-title', 'for': 'widget.' + id }, this.title || ''),
			E('div', { 'class': 'cbi-value-field' }, [ E('div', { 'id': id }, inputs), E('div', { 'class': 'cbi-value-description' }, this.description || '') ])
		]);

		this.inputs[section] = inputs;
		this.nodes = Object.assign(this.nodes || {}, { [section]: node });

		for (const input of inputs) {
			for (const event of [ 'keyup', 'blur', 'input', 'change' ])
				input.addEventListener(event, () => this.isValid(section));

			input.addEventListener('change', () => {
				this.map.checkDepends();

				if (this.onchange)
					this.onchange(null, section, this.formvalue(section));
			});
		}

		return node;
	},

	write: function(section, value) { uci.set(this.map.config, section, this.option, value); },
	remove: function(section) { uci.unset(this.map.config, section, this.option); },

	parse: function(section) {
		if (!this.isActive(section))
			return this.retain ? null : this.remove(section);

		if (!this.isValid(section))
			throw new TypeError(_('Option "%s" contains an invalid input value.').format(this.title || this.option));

		const value = this.formvalue(section), empty = value == null || value.length === 0;

		if (empty || (value == this.default && this.rmempty))
			return this.remove(section);

		if (JSON.stringify(value) != JSON.stringify(this.cfgvalue(section)))
			this.write(section, value);
	}
});

const Flag = Value.extend({
	enabled: '1', disabled: '0', default: '0',
	textvalue: function(section) { return this.cfgvalue(section) == '1' ? _('Yes') : _('No'); },
	input: function(value, attributes) { return E('input', Object.assign(attributes, { 'type': 'checkbox', 'checked': value == '1' ? '' : null })); }
});

const ListValue = Value.extend({
	input: function(value, attributes) {
		return E('select', Object.assign(attributes, { 'class': 'cbi-input-select' }), this.choices.map((one) => E('option', { 'value': one[0], 'selected': one[0] == (value == null ? '' : value) ? '' : null }, [ one[1] ])));
	}
});

const DummyValue = Value.extend({
	isActive: () => false,
	parse: () => null,
	render: function(section) {
		return E('div', { 'class': 'cbi-value', 'data-name': this.option }, [ E('label', { 'class': 'cbi-value-title' }, this.title || ''), E('div', { 'class': 'cbi-value-field' }, [ this.cfgvalue(section) ]) ]);
	}
});

const DynamicList = Value.extend({ list: true });

/* One pane is seen, the one that was chosen last. */
function tabbed(panes, chosen) {
	const menu = E('ul', { 'class': 'cbi-tabmenu' });
	const choose = function(name) {
		chosen.name = name;
		panes.forEach((pane, index) => {
			pane.node.style.display = pane.name == name ? '' : 'none';
			menu.children[index].className = pane.name == name ? 'cbi-tab' : 'cbi-tab-disabled';
		});
	};

	for (const pane of panes)
		menu.appendChild(E('li', { 'data-tab': pane.name }, [ E('a', { 'href': '#', 'click': (event) => { event.preventDefault(); choose(pane.name); } }, [ pane.title ]) ]));

	choose(panes.some((pane) => pane.name == chosen.name) ? chosen.name : panes[0].name);

	return [ menu ].concat(panes.map((pane) => pane.node));
}

const Section = Class.extend({
	__init__: function(map, type, title, description) {
		this.map = map;
		this.sectiontype = type;
		this.title = title;
		this.description = description;
		this.children = [];
		this.tabs = [];
	},
	tab: function(name, title) {
		/* An array that has entries by name too: names of its methods cannot be used. */
		if (this.tabs[name])
			throw new Error('Tab already declared');

		this.tabs[name] = this.tabs[this.tabs.push({ name: name, title: title }) - 1];
	},
	option: function(kind, option, ...args) {
		const made = new kind(this, option, ...args);

		this.children.push(made);

		return made;
	},
	taboption: function(tab, ...args) { return Object.assign(this.option(...args), { tab: tab }); },
	filter: () => true,
	cfgsections: function() { return uci.sections(this.map.config, this.sectiontype).map((one) => one['.name']).filter((name) => this.filter(name)); },
	fields: function(section) {
		if (!this.tabs.length)
			return this.children.map((child) => child.render(section));

		this.chosen = this.chosen || {};

		return tabbed(this.tabs.map((tab) => ({ name: tab.name, title: tab.title,
			node: E('div', { 'data-tab': tab.name }, this.children.filter((one) => one.tab == tab.name).map((child) => child.render(section))) })), this.chosen);
	},
	renderSectionAdd: function() {
		return this.addremove ? E('div', { 'class': 'cbi-section-create' }, [ this.button('add', _('Add'), () => this.handleAdd()) ]) : E([]);
	},
	button: function(kind, title, act) {
		return E('button', { 'class': 'btn cbi-button cbi-button-' + kind, 'disabled': this.map.readonly || null, 'click': act }, [ title ]);
	},
	handleAdd: function(event, name) {
		const made = uci.add(this.map.config, this.sectiontype, name);

		this.map.redraw();

		return made;
	},
	handleRemove: function(section) {
		uci.remove(this.map.config, section);
		this.map.redraw();
	},
	body: function() {
		const known = this.cfgsections();

		return (known.length ? known : []).map((section) => E('div', { 'class': 'cbi-section-node', 'id': 'cbi-%s-%s'.format(this.map.config, section), 'data-section-id': section },
			this.fields(section).concat(this.addremove ? [ this.button('remove', _('Delete'), () => this.handleRemove(section)) ] : [])));
	},
	render: function() {
		return E('div', { 'class': 'cbi-section', 'id': 'cbi-%s-%s'.format(this.map.config, this.sectiontype) }, [
			E('h3', {}, this.title || ''), E('div', { 'class': 'cbi-section-descr' }, this.description || '')
		].concat(this.body(), [ this.renderSectionAdd() ]));
	},
	parse: function() {
		for (const section of this.cfgsections())
			for (const child of this.children)
				child.parse(section);
	}
});

const NamedSection = Section.extend({
	__init__: function(map, name, type, title, description) {
		Section.prototype.__init__.call(this, map, type, title, description);
		this.name = name;
	},
	cfgsections: function() { return uci.get(this.map.config, this.name) ? [ this.name ] : []; }
});

const GridSection = Section.extend({
	handleAdd: function() {
		const made = uci.add(this.map.config, this.sectiontype);

		this.edit(made, () => uci.remove(this.map.config, made));
	},
	edit: function(section, cancel) {
		const close = () => { built.ui.hideModal(); this.open = null; this.map.redraw(); };

		this.open = section;
		built.ui.showModal(this.modaltitle || this.title, [
			E('div', { 'class': 'cbi-map' }, [ E('div', { 'class': 'cbi-section-node' }, this.fields(section)) ]),
			E('div', { 'class': 'button-row' }, [
				E('button', { 'class': 'btn', 'click': () => { (cancel || (() => null))(); close(); } }, [ _('Dismiss') ]),
				this.button('positive important', _('Save'), () => {
					try {
						this.children.forEach((child) => child.parse(section));
						uci.save().then(close);
					}
					catch (error) { /* The field tells. */ }
				})
			])
		], 'cbi-modal');
		this.map.checkDepends();
	},
	body: function() {
		const shown = this.children.filter((child) => !child.modalonly);
		const rows = this.cfgsections().map((section) => E('tr', { 'class': 'tr cbi-section-table-row', 'data-sid': section, 'data-section-id': section },
			shown.map((child) => E('td', { 'class': 'td cbi-value-field', 'data-name': child.option, 'data-title': child.title }, child.textvalue(section))).concat([
				E('td', { 'class': 'td cbi-section-table-cell cbi-section-actions' }, [ this.button('edit', _('Edit'), () => this.edit(section)), this.button('remove', _('Delete'), () => this.handleRemove(section)) ])
			])));

		return [ E('table', { 'class': 'table cbi-section-table' }, [
			E('tr', { 'class': 'tr cbi-section-table-titles' }, shown.map((child) => E('th', { 'class': 'th cbi-section-table-cell' }, child.title)).concat([ E('th', { 'class': 'th' }) ]))
		].concat(rows.length ? rows : [ E('tr', { 'class': 'tr placeholder' }, [ E('td', { 'class': 'td' }, [ E('em', {}, [ _('This section contains no values yet') ]) ]) ]) ])) ];
	},
	parse: () => null
});

const FormMap = Class.extend({
	__init__: function(config, title, description) {
		this.config = config;
		this.title = title;
		this.description = description;
		this.children = [];
	},
	section: function(kind, ...args) {
		const made = new kind(this, ...args);

		this.children.push(made);

		return made;
	},
	render: function() {
		return Promise.all([ call.access('uci', this.config, 'write'), uci.load(this.config) ]).then((replies) => {
			this.readonly = replies[0] === false || null;
			this.node = dom.create('div', { 'class': 'cbi-map', 'id': 'cbi-' + this.config });
			dom.bindClassInstance(this.node, this);
			this.redraw();

			return this.node;
		});
	},
	redraw: function() {
		const nodes = this.children.map((section) => section.render());

		this.chosen = this.chosen || {};
		dom.content(this.node, [ E('h2', {}, this.title || ''), E('div', { 'class': 'cbi-map-descr' }, this.description || '') ]
			.concat(this.tabbed ? tabbed(nodes.map((node, index) => ({ name: this.children[index].sectiontype, title: this.children[index].title, node: node })), this.chosen) : nodes));
		this.checkDepends();
	},
	reset: function() { this.redraw(); },
	checkDepends: function() {
		for (const section of this.children) {
			for (const child of section.children) {
				for (const name in child.nodes || {}) {
					const met = (wish) => Object.keys(wish).every((key) => {
						const other = section.children.find((one) => one.option == key);

						const value = other != null && other.isActive(name) ? String(other.formvalue(name)) : null;

						return key[0] == '!' || value != null && (wish[key] instanceof RegExp ? wish[key].test(value) : value == wish[key]);
					});

					child.nodes[name].classList.toggle('hidden', child.deps.length > 0 && !child.deps.some(met));
				}
			}
		}
	},
	parse: function() { return Promise.resolve().then(() => this.children.forEach((section) => section.parse())); },
	save: function(change) {
		return this.parse().then(change).then(() => uci.save()).catch((error) => {
			built.ui.showModal(_('Save error'), [ E('p', {}, [ error.message ]), E('div', { 'class': 'right' }, [ E('button', { 'class': 'btn', 'click': built.ui.hideModal }, [ _('Dismiss') ]) ]) ]);

			return Promise.reject(error);
		}).then(() => this.redraw());
	}
});

const NetworkSelect = ListValue.extend({
	input: function(value, attributes) {
		this.choices = [ [ '', _('unspecified') ], [ 'lan' ], [ 'wan' ], [ 'wwan' ] ].map((one) => [ one[0], one[1] || one[0] ]);

		return ListValue.prototype.input.call(this, value, attributes);
	}
});

const protocols = {};
/* Interfaces as /etc/config/network has them. */
const interfaces = (wanted) => uci.load('network').then(() => uci.sections('network', 'interface').map((one) => one['.name']).filter(wanted)
	.map((name) => ({ getName: () => name, getProtocol: () => uci.get('network', name, 'proto'), getIfname: () => uci.get('network', name, 'device') })));

Object.assign(built, {
	'uci': uci,
	'form': { Map: FormMap, NamedSection: NamedSection, TypedSection: Section, GridSection: GridSection, Value: Value, Flag: Flag, ListValue: ListValue, DynamicList: DynamicList,
		DummyValue: DummyValue, TextValue: Value },
	'tools.widgets': { NetworkSelect: NetworkSelect, DeviceSelect: Value, ZoneSelect: Value },
	'network': { registerProtocol: (name, methods) => protocols[name] = Class.extend(methods), getNetworks: () => interfaces(() => true), getWANNetworks: () => interfaces((name) => name == 'wan'), getWAN6Networks: () => Promise.resolve([]),
		getProtocol: (name) => protocols[name] ? new protocols[name]() : null, registerPatternVirtual: () => null, registerErrorCode: () => null }
});

})(window);
