// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dom';

const HEIGHT = 30, SPARE = 12;

/* Numbers in names count as numbers: bus-9 comes before bus-10. */
const COLLATOR = new Intl.Collator(undefined, { numeric: true });

function compare(one, other) {
	return (typeof(one) == 'number' && typeof(other) == 'number') ? one - other : COLLATOR.compare(one, other);
}

/*
 * A table of any length in which only the rows that can be seen are in the page.
 * columns: [ title, function(row) returning text or a node, CSS class, function(row)
 * returning what it is sorted by ]; texts: of a row, what it is searched by, in
 * lower case.
 */
const Rows = baseclass.extend({
	__init__: function(columns, empty) {
		this.columns = columns;
		this.empty = empty;
		this.all = [];
		this.found = [];
		this.words = [];
		this.keep = () => true;
		this.order = null;
		this.heads = columns.map(L.bind(this.head, this));
		this.body = E('tbody');
		this.above = E('tr', {}, [ E('td', { 'colspan': columns.length, 'style': 'padding:0;border:0' }) ]);
		this.below = E('tr', {}, [ E('td', { 'colspan': columns.length, 'style': 'padding:0;border:0' }) ]);
		this.node = E('div', { 'class': 'dsmip-list', 'tabindex': 0, 'scroll': L.bind(this.draw, this) }, [
			E('table', { 'class': 'dsmip-rows' }, [
				E('thead', {}, [ E('tr', {}, this.heads) ]),
				this.body
			])
		]);
	},

	head: function(column, index) {
		if (!column[3])
			return E('th', { 'scope': 'col', 'class': column[2] || null }, [ column[0] ]);

		return E('th', { 'scope': 'col', 'class': column[2] || null, 'aria-sort': 'none' }, [
			E('button', { 'type': 'button', 'click': L.bind(this.sortBy, this, index) }, [ column[0] ])
		]);
	},

	sortBy: function(index) {
		this.down = (this.order == index) ? !this.down : false;
		this.order = index;
		this.heads.forEach((head, at) => head.hasAttribute('aria-sort') &&
			head.setAttribute('aria-sort', at != index ? 'none' : this.down ? 'descending' : 'ascending'));
		this.set(this.all);
	},

	/*
	 * rows: { text, value }. They are put in order where they stand: whoever gives the
	 * same ones again has next to nothing sorted anew.
	 */
	set: function(rows) {
		this.all = rows;

		if (this.order != null) {
			const key = this.columns[this.order][3], sign = this.down ? -1 : 1;

			/* What is not known comes last, whichever way. */
			rows.map((row) => ({ key: key(row.value), row: row })).sort(function(one, other) {
				if (one.key == null || other.key == null)
					return (one.key == null) - (other.key == null);

				return sign * compare(one.key, other.key);
			}).forEach((one, index) => { rows[index] = one.row; });
		}

		this.choose();
	},

	/* The rows in the page that are not only in reserve. */
	visible: function() {
		const first = Math.floor(this.node.scrollTop / HEIGHT);

		return this.found.slice(first, first + Math.ceil((this.node.clientHeight || 480) / HEIGHT) + 1).map((row) => row.value);
	},

	search: function(text) {
		this.words = String(text).toLowerCase().split(' ').filter((word) => word);
		this.node.scrollTop = 0;
		this.choose();
	},

	filter: function(keep) {
		this.keep = keep;
		this.node.scrollTop = 0;
		this.choose();
	},

	choose: function() {
		const words = this.words, keep = this.keep;

		this.found = this.all.filter(function(row) {
			for (const word of words)
				if (row.text.indexOf(word) < 0)
					return false;

			return keep(row.value);
		});
		this.draw();
	},

	draw: function() {
		const first = Math.max(Math.floor(this.node.scrollTop / HEIGHT) - SPARE, 0);
		/* As high as it may become: with rows in it, it grows. */
		const count = Math.ceil(Math.max(this.node.clientHeight, window.innerHeight * 0.6) / HEIGHT) + 2 * SPARE;
		const shown = this.found.slice(first, first + count);
		const rows = shown.map((row) => E('tr', { 'style': 'height:%dpx'.format(HEIGHT) }, this.columns.map(function(column) {
			const content = column[1](row.value);

			return E('td', { 'class': column[2] || null, 'title': (content instanceof Node) ? null : String(content) },
				[ (content instanceof Node) ? content : String(content) ]);
		})));

		if (!this.found.length)
			rows.push(E('tr', {}, [ E('td', { 'colspan': this.columns.length }, [ E('em', {}, [ this.empty ]) ]) ]));

		this.above.firstChild.style.height = '%dpx'.format(first * HEIGHT);
		this.below.firstChild.style.height = '%dpx'.format(Math.max(this.found.length - first - shown.length, 0) * HEIGHT);
		dom.content(this.body, [ this.above ].concat(rows, [ this.below ]));
	}
});

return baseclass.extend({ Rows: Rows });
