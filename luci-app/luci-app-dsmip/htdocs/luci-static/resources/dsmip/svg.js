// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';

const NS = 'http://www.w3.org/2000/svg';

/* Text is only ever set as text: names come from other machines. */
function svg(tag, attributes, children) {
	const node = document.createElementNS(NS, tag);

	for (const name in attributes)
		if (attributes[name] != null)
			node.setAttribute(name, attributes[name]);

	for (const child of (children || []))
		node.appendChild((child instanceof Node) ? child : document.createTextNode(String(child)));

	return node;
}

/* Distinguishable for those who do not tell red from green. */
const COLOURS = [ '#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#8a7a00', '#6a51a3' ];

return baseclass.extend({
	svg: svg,

	/* The same colour for an uplink wherever it is shown. */
	colour: (index) => COLOURS[index % COLOURS.length]
});
