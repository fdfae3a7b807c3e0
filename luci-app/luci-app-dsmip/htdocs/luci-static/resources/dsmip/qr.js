// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dsmip.svg as draw';

/* Modules around it that stay white (ISO/IEC 18004). */
const QUIET = 4;

return baseclass.extend({
	/*
	 * rows: texts of 0 and 1, all of one length, as the daemon made them. Black on white
	 * in dark themes too, since that is what cameras read. null when they are no square.
	 */
	render: function(rows, title) {
		if (!Array.isArray(rows) || !rows.length || !rows.every((row) => typeof(row) == 'string' && row.length == rows.length && !/[^01]/.test(row)))
			return null;

		const size = rows.length + 2 * QUIET;
		const path = [];

		rows.forEach(function(row, y) {
			for (let x = row.indexOf('1'); x >= 0;) {
				let end = row.indexOf('0', x);

				end = (end < 0) ? row.length : end;
				path.push('M%d %dh%dv1h-%dz'.format(x + QUIET, y + QUIET, end - x, end - x));
				x = row.indexOf('1', end);
			}
		});

		return draw.svg('svg', { 'viewBox': '0 0 %d %d'.format(size, size), 'class': 'dsmip-qr', 'role': 'img', 'shape-rendering': 'crispEdges' }, [
			draw.svg('title', {}, [ title ]),
			draw.svg('rect', { 'width': size, 'height': size, 'fill': '#fff' }),
			draw.svg('path', { 'd': path.join(''), 'fill': '#000' })
		]);
	}
});
