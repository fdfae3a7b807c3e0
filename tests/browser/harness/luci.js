// SPDX-License-Identifier: GPL-2.0-only
/*
 * The documented part of LuCI's client-side API that the pages use, for browser
 * tests without LuCI. Where LuCI has a trap it is here as well: a string that is
 * given as children is markup, strings in an array are text.
 */
(function(window, document) {
'use strict';

/* --- classes ------------------------------------------------------------------ */

const Class = Object.assign(function() {}, {
	extend: function(properties) {
		const base = this;
		const made = function() {
			if (!(this instanceof made))
				throw new TypeError('Constructor must be called with new');

			if (typeof(this.__init__) == 'function')
				this.__init__.apply(this, arguments);
		};

		made.prototype = Object.create(base.prototype);
		made.prototype.constructor = made;
		Object.assign(made.prototype, properties);
		Object.assign(made, { extend: base.extend, singleton: base.singleton, instantiate: base.instantiate, isSubclass: base.isSubclass });

		return made;
	},
	singleton: function(properties, ...args) { return new (this.extend(properties))(...args); },
	instantiate: function(args) { return new this(...args); },
	isSubclass: function(made) { return typeof(made) == 'function' && Class.prototype.isPrototypeOf(made.prototype); }
});

Class.prototype = {
	varargs: (args, offset, ...more) => [ ...more, ...Array.prototype.slice.call(args, offset) ],
	super: function(key, args) {
		let proto = Object.getPrototypeOf(Object.getPrototypeOf(this));

		while (proto && !proto.hasOwnProperty(key))
			proto = Object.getPrototypeOf(proto);

		return typeof(proto && proto[key]) == 'function' ? proto[key].apply(this, args || []) : proto && proto[key];
	},
	toString: function() { return '[object LuCI.Class]'; }
};

/* --- strings ------------------------------------------------------------------ */

function escaped(text) {
	return String(text).replace(/[&<>"']/g, (c) => '&#%d;'.replace('%d', c.charCodeAt(0)));
}

/* Hours, minutes and seconds always, days when there are some. */
function period(seconds) {
	const days = Math.floor(seconds / 86400);

	return (days ? days + 'd ' : '') + '%dh %dm %ss'.format(seconds / 3600 % 24, seconds / 60 % 60, days ? Math.floor(seconds % 60) : seconds % 60);
}

/* Below the base as it is, with whatever digits it has. */
function metric(value, base, digits, unit) {
	const units = [ '', 'K', 'M', 'G', 'T', 'P', 'E' ];
	let step = 0;

	for (value = Number(value) || 0; value > base && step < units.length - 1; step++)
		value /= base;

	if (!step)
		return value + ' ' + unit;

	return value.toFixed(digits == null ? 2 : digits) + ' ' + units[step] + (base == 1024 ? 'i' : '') + unit;
}

String.prototype.format = function(...values) {
	let next = 0;

	return this.replace(/%(0|-)?([0-9]*)(?:\.([0-9]+))?([%bcdeEfFosuxXhqtmj])([A-Za-z])?/g, function(all, flag, width, digits, type, unit) {
		if (type == '%')
			return '%' + (unit || '');

		const value = values[next++];
		const after = type == 'm' ? '' : (unit || '');
		let text;

		switch (type) {
		case 'd': case 'u': text = String(Math.floor(Number(value) || 0)); break;
		case 'f': case 'F': text = (Number(value) || 0).toFixed(digits == null ? 6 : digits); break;
		case 'x': text = Math.trunc(Number(value) || 0).toString(16); break;
		case 'h': case 'q': text = escaped(value); break;
		case 't': text = period(Number(value) || 0); break;
		case 'm': return metric(value, Number(width) || 1000, digits, unit || '');
		case 'j': text = JSON.stringify(value); break;
		default: text = value === undefined ? '' : String(value);
		}

		return text.padStart(type == 's' ? 0 : Number(width) || 0, flag == '0' ? '0' : ' ') + after;
	});
};

/* --- translation -------------------------------------------------------------- */

window.TR = window.TR || {};
window._ = (text, context) => window.TR[(context ? context + '\u0004' : '') + text] || text;
window.N_ = (number, one, many) => window._(number == 1 ? one : many);

/* --- dom ---------------------------------------------------------------------- */

const handlers = new WeakMap();

const dom = {
	elem: (node) => node != null && typeof(node) == 'object' && 'nodeType' in node,
	matches: (node, selector) => dom.elem(node) && node.matches(selector),
	parent: (node, selector) => dom.elem(node) ? node.closest(selector) : null,
	parse: function(markup) {
		const body = document.implementation.createHTMLDocument('').body;

		body.innerHTML = markup;

		return body.firstElementChild;
	},
	append: function(node, children) {
		if (!dom.elem(node))
			return null;

		if (Array.isArray(children)) {
			for (const child of children) {
				if (dom.elem(child))
					node.appendChild(child);
				else if (child !== null && child !== undefined)
					node.appendChild(document.createTextNode('' + child));
			}
		}
		else if (typeof(children) == 'function') {
			return dom.append(node, children(node));
		}
		else if (dom.elem(children)) {
			node.appendChild(children);
		}
		else if (children !== null && children !== undefined) {
			node.innerHTML = '' + children;
		}

		return node.lastChild;
	},
	content: function(node, children) {
		if (!dom.elem(node))
			return null;

		while (node.firstChild)
			node.removeChild(node.firstChild);

		return dom.append(node, children);
	},
	attr: function(node, name, value) {
		const attributes = (name !== null && typeof(name) == 'object') ? name : { [name]: value };

		for (const key in attributes) {
			const given = attributes[key];

			if (given == null)
				continue;

			if (typeof(given) == 'function')
				node.addEventListener(key, given);
			else if (typeof(given) == 'object')
				node.setAttribute(key, JSON.stringify(given));
			else
				node.setAttribute(key, given);
		}
	},
	create: function(tag, attributes, children) {
		if (Array.isArray(tag)) {
			const fragment = document.createDocumentFragment();

			dom.append(fragment, tag);

			return fragment;
		}

		if (dom.elem(tag))
			return dom.append(tag, attributes), tag;

		const node = tag.charAt(0) == '<' ? dom.parse(tag) : document.createElement(tag);

		if (attributes === null || typeof(attributes) != 'object' || Array.isArray(attributes) || dom.elem(attributes)) {
			children = attributes;
			attributes = {};
		}

		dom.attr(node, attributes);
		dom.append(node, children);

		return node;
	},
	bindClassInstance: (node, instance) => (handlers.set(node, instance), instance),
	findClassInstance: function(node) {
		while (node && !handlers.has(node))
			node = node.parentNode;

		return node ? handlers.get(node) : null;
	},
	callClassMethod: function(node, method, ...args) {
		const instance = dom.findClassInstance(node);

		return typeof(instance && instance[method]) == 'function' ? instance[method](...args) : null;
	}
};

window.E = dom.create;

/* --- rpc, poll ------------------------------------------------------------------ */

let requests = 0;

const rpc = {
	getSessionID: () => L.env.sessionid,
	declare: function(options) {
		return function(...args) {
			const params = {};

			(options.params || []).forEach((name, index) => {
				if (args[index] !== undefined)
					params[name] = args[index];
			});

			return fetch(L.env.ubuspath, {
				method: 'POST', headers: { 'Content-Type': 'application/json' },
				body: JSON.stringify({
					jsonrpc: '2.0', id: ++requests, method: 'call',
					params: [ L.env.sessionid, options.object, options.method, params ]
				})
			}).then((reply) => {
				if (!reply.ok)
					throw new Error('RPC call to %s/%s failed with HTTP error %d'.format(options.object, options.method, reply.status));

				return reply.json();
			}).then((reply) => {
				if (reply.error)
					throw new Error('RPC call to %s/%s failed: %s'.format(options.object, options.method, reply.error.message));

				/* What came with the status, or the status itself: 4 for an object that is not there. */
				let result = Array.isArray(reply.result) ? reply.result[reply.result.length > 1 ? 1 : 0] : null;

				if (options.reject && reply.result[0] !== 0)
					throw new Error('RPC call to %s/%s failed with ubus code %d'.format(options.object, options.method, reply.result[0]));

				for (const key in (options.expect || {})) {
					if (result != null && key != '')
						result = result[key];

					const like = options.expect[key];

					if (result == null || Object.prototype.toString.call(result) != Object.prototype.toString.call(like))
						result = like;
				}

				return result;
			});
		};
	}
};

const polled = [];
let ticks = null, timer = null;

function announce(name) { document.dispatchEvent(new CustomEvent(name)); }

const poll = {
	add: function(fn, interval) {
		if (polled.some((entry) => entry.fn === fn))
			return false;

		polled.push({ fn: fn, interval: interval || L.env.pollinterval || 5, ready: true });

		/* Before LuCI is there, and after the user has stopped it, nothing starts by itself. */
		if (ticks != null && timer == null)
			poll.start();

		return true;
	},
	remove: function(fn) {
		const at = polled.findIndex((entry) => entry.fn === fn);

		return at >= 0 ? (polled.splice(at, 1), true) : false;
	},
	step: function() {
		for (const entry of polled) {
			if (ticks % entry.interval == 0 && entry.ready) {
				/* A function that fails is a complaint in the console. */
				entry.ready = false;
				Promise.resolve(entry.fn()).finally(() => entry.ready = true);
			}
		}

		ticks++;
	},
	start: function() {
		if (timer != null)
			return false;

		ticks = 0;

		if (polled.length) {
			timer = window.setInterval(poll.step, 1000);
			poll.step();
			announce('poll-start');
		}

		return true;
	},
	stop: function() {
		if (timer == null)
			return false;

		announce('poll-stop');
		window.clearInterval(timer);
		timer = ticks = null;

		return true;
	},
	active: () => timer != null
};

/* --- ui, view ------------------------------------------------------------------- */

const overlay = dom.create('div', { 'id': 'modal_overlay', 'tabindex': '-1' }, [ dom.create('div', { 'class': 'modal', 'role': 'dialog' }) ]);

const ui = {
	/* A title that is a string is markup, and so are children that are one. */
	addNotification: function(title, children, ...classes) {
		const node = E('div', { 'class': 'alert-message fade-in' }, [ E('div'), E('div', {}, [
			E('button', { 'class': 'btn', 'click': (event) => event.target.closest('.alert-message').remove() }, [ _('Dismiss') ])
		]) ]);

		if (title != null)
			dom.append(node.firstElementChild, E('h4', {}, title));

		dom.append(node.firstElementChild, children);
		node.classList.add(...classes);
		document.querySelector('#maincontent').prepend(node);

		return node;
	},
	addTimeLimitedNotification: (title, children, ms, ...classes) => ui.addNotification(title, children, ...classes),
	showModal: function(title, children, ...classes) {
		const dialog = overlay.firstElementChild;

		if (!overlay.isConnected)
			document.body.appendChild(overlay);

		dialog.setAttribute('class', [ 'modal', ...classes ].join(' '));
		dom.content(dialog, E('h4', {}, title));
		dom.append(dialog, children);
		document.body.classList.add('modal-overlay-active');

		return dialog;
	},
	hideModal: () => document.body.classList.remove('modal-overlay-active'),
	/* What the function fails with is nobody's but the console's. */
	createHandlerFn: function(context, fn, ...args) {
		if (typeof(fn) == 'string')
			fn = context[fn];

		if (typeof(fn) != 'function')
			return null;

		return function(event) {
			const button = event.currentTarget;

			button.disabled = true;
			button.classList.add('spinning');
			Promise.resolve(fn.apply(context, args.concat([ event ]))).finally(() => {
				button.classList.remove('spinning');
				button.disabled = false;
			});
		};
	},
	instantiateView: (path) => L.require('view.' + path.replace(/\//g, '.')).catch((error) => window.harnessFailed = String(error && error.stack || error)),
	menu: { flushCache: () => null },
	changes: {
		apply: () => rpc.declare({ object: 'uci', method: 'apply', params: [ 'timeout', 'rollback' ] })(90, true)
			.then(() => document.dispatchEvent(new CustomEvent('uci-applied')))
	}
};

const View = Class.extend({
	__init__: function() {
		const place = document.getElementById('view');

		dom.content(place, E('div', { 'class': 'spinning' }, [ _('Loading view…') ]));

		const ready = L.loaded ? Promise.resolve() : new Promise((resolve) => document.addEventListener('luci-loaded', resolve, { once: true }));

		ready.then(() => this.load()).then((loaded) => this.render(loaded)).then((nodes) => {
			dom.content(place, nodes);
			dom.append(place, this.addFooter());
			window.harnessReady = true;
		}).catch((error) => {
			dom.content(place, E('div', { 'class': 'alert-message error' }, [ String(error && error.stack || error) ]));
			window.harnessFailed = String(error && error.stack || error);
		});
	},
	load: () => null,
	render: () => null,
	handleSave: () => Promise.all(Array.from(document.querySelectorAll('#maincontent .cbi-map'), (node) => dom.callClassMethod(node, 'save'))),
	handleSaveApply: function(event, mode) { return this.handleSave(event).then(() => ui.changes.apply(mode == '0')); },
	handleReset: () => Promise.all(Array.from(document.querySelectorAll('#maincontent .cbi-map'), (node) => dom.callClassMethod(node, 'reset'))),
	addFooter: function() {
		const maps = Array.from(document.querySelectorAll('#view .cbi-map'), (node) => dom.findClassInstance(node));
		const readonly = maps.length ? maps.every((one) => one.readonly) : !L.hasViewPermission();
		const button = (name, kind, title) => this[name] ? E('button', {
			'class': 'btn cbi-button cbi-button-' + kind, 'click': ui.createHandlerFn(this, name), 'disabled': readonly || null
		}, [ title ]) : null;
		const parts = [ button('handleSaveApply', 'apply', _('Save & Apply')), button('handleSave', 'save', _('Save')), button('handleReset', 'reset', _('Reset')) ];

		return parts.some((one) => one) ? E('div', { 'class': 'cbi-page-actions' }, parts) : E([]);
	}
});

/* --- the object L ----------------------------------------------------------------- */

const built = { baseclass: Class, dom: dom, rpc: rpc, poll: poll, ui: ui, view: View };
const loading = {};

function LuCI(env) {
	this.env = Object.assign({ ubuspath: '/ubus/', resource: '/luci-static/resources' }, env);
	window.L = this;
	this.dom = dom;
	this.Poll = poll;
	document.addEventListener('DOMContentLoaded', () => window.setTimeout(() => {
		poll.start();
		this.loaded = true;
		announce('luci-loaded');
	}));
}

LuCI.prototype = {
	bind: (fn, self, ...args) => fn.bind(self, ...args),
	url: (...parts) => '/cgi-bin/luci/' + parts.join('/'),
	resource: (...parts) => '/luci-static/resources/' + parts.join('/'),
	loaded: false,
	/* Nothing for who may not even look. */
	hasViewPermission: () => window.L.env.nodespec && window.L.env.nodespec.satisfied ? !window.L.env.nodespec.readonly : null,
	isObject: (value) => value !== null && typeof(value) == 'object',
	toArray: (value) => value == null ? [] : Array.isArray(value) ? value : typeof(value) == 'object' ? [ value ] : String(value).trim().split(/\s+/).filter((word) => word),
	resolveDefault: (value, fallback) => Promise.resolve(value).catch(() => fallback),
	error: (type, ...args) => new Error(String(args[0]).format(...args.slice(1))),
	raise: function(type, ...args) { throw this.error(type, ...args); },

	require: function(name) {
		if (!loading[name])
			loading[name] = name in built ? Promise.resolve(built[name]) : this.fetchClass(name);

		return loading[name];
	},

	fetchClass: function(name) {
		return fetch(this.env.resource + '/' + name.replace(/\./g, '/') + '.js').then((reply) => {
			if (!reply.ok)
				throw new Error('HTTP error %d while loading class file "%s"'.format(reply.status, name));

			return reply.text();
		}).then((source) => {
			const wanted = [];
			const directive = /^\s*(?:\/\*[\s\S]*?\*\/\s*|\/\/[^\n]*\n\s*)*(['"])(.*?)\1;?/;
			let rest = source, found;

			while ((found = directive.exec(rest)) != null) {
				const words = /^require\s+(\S+)(?:\s+as\s+([a-zA-Z_]\S*))?$/.exec(found[2]);

				if (words)
					wanted.push([ words[1], words[2] || words[1].replace(/[^a-zA-Z0-9_]/g, '_') ]);
				else if (found[2] != 'use strict')
					break;

				rest = rest.substring(found[0].length);
			}

			return Promise.all(wanted.map((one) => this.require(one[0]))).then((instances) => {
				const made = new Function('window', 'document', 'L', ...wanted.map((one) => one[1]), source)
					.call(window, window, document, this, ...instances);

				if (!Class.isSubclass(made))
					throw new Error('"%s" does not return a class'.format(name));

				/* What is required is an instance, never the class itself. */
				return new made();
			});
		});
	}
};

window.LuCI = LuCI;
window.HarnessClass = Class;
window.HarnessBuilt = built;

})(window, document);
