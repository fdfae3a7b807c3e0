// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';
'require dsmip.svg as draw';
'require dsmip.data as data';

/* As large as it will be shown, so that letters have their size; times beside each other. */
const NARROW = window.matchMedia('(max-width: 600px)');
const LEFT = 62, RIGHT = 8, TOP = 10, BOTTOM = 22;

function size() {
	return NARROW.matches ? { width: 370, height: 140, times: 2 } : { width: 1080, height: 160, times: 5 };
}

/* The next of 1, 2, 5, 10, 20 … that is not below. */
function ceiling(value) {
	if (!(value > 0))
		return 1;

	const power = Math.pow(10, Math.floor(Math.log10(value)));

	for (const step of [ 1, 2, 5, 10 ])
		if (step * power >= value)
			return step * power;

	return 10 * power;
}

function percentile(values, part) {
	const sorted = values.slice().sort((a, b) => a - b);

	return sorted.length ? sorted[Math.min(Math.floor(sorted.length * part), sorted.length - 1)] : 0;
}

function frame(title, from, to, top, label, marks) {
	const { width, height, times } = size();
	const x = (at) => LEFT + (at - from) / (to - from) * (width - LEFT - RIGHT);
	const y = (value) => height - BOTTOM - Math.min(value / top, 1) * (height - TOP - BOTTOM);
	const parts = [ draw.svg('title', {}, [ title ]) ];

	for (let step = 0; step <= 4; step++) {
		const value = top * step / 4;

		parts.push(draw.svg('line', { 'x1': LEFT, 'x2': width - RIGHT, 'y1': y(value), 'y2': y(value), 'class': 'grid' }));

		if (step % 2 == 0)
			parts.push(draw.svg('text', { 'x': LEFT - 6, 'y': y(value) + 4, 'text-anchor': 'end' }, [ label(value) ]));
	}

	for (let step = 0; step <= times; step++) {
		const at = from + (to - from) * step / times;

		parts.push(draw.svg('text', {
			'x': x(at), 'y': height - 6,
			'text-anchor': step == 0 ? 'start' : step == times ? 'end' : 'middle'
		}, [ data.clock(at) ]));
	}

	for (const mark of marks) {
		if (mark.at < from || mark.at > to)
			continue;

		parts.push(draw.svg('line', { 'x1': x(mark.at), 'x2': x(mark.at), 'y1': TOP, 'y2': height - BOTTOM, 'class': 'mark' },
			[ draw.svg('title', {}, [ mark.text ]) ]));
	}

	return { x: x, y: y, parts: parts };
}

function finish(title, parts) {
	return draw.svg('svg', {
		'viewBox': '0 0 %d %d'.format(size().width, size().height), 'class': 'dsmip-plot', 'role': 'img', 'aria-label': title
	}, parts);
}

function points(list) {
	return list.map((point) => point[0].toFixed(1) + ',' + point[1].toFixed(1)).join(' ');
}

return baseclass.extend({
	/* Both directions of all uplinks on each other, with a mark for each handover. */
	throughput: function(samples, names, from, to, marks) {
		const title = _('Throughput by uplink');
		const total = (sample) => names.reduce((sum, name) => {
			const one = sample.uplinks[name];

			return sum + (one ? one.rx + one.tx : 0);
		}, 0);
		const shown = samples.filter((sample) => sample.at >= from && sample.at <= to);
		const top = ceiling(shown.reduce((most, sample) => Math.max(most, total(sample)), 1000));
		const plot = frame(title, from, to, top, data.bits, marks);
		const base = shown.map(() => 0);

		names.forEach(function(name, index) {
			const lower = [], upper = [];

			shown.forEach(function(sample, at) {
				const one = sample.uplinks[name];

				lower.push([ plot.x(sample.at), plot.y(base[at]) ]);
				base[at] += one ? one.rx + one.tx : 0;
				upper.push([ plot.x(sample.at), plot.y(base[at]) ]);
			});

			if (upper.length > 1)
				plot.parts.push(draw.svg('polygon', {
					'points': points(upper.concat(lower.reverse())),
					'fill': draw.colour(index), 'fill-opacity': 0.65, 'data-uplink': name
				}, [ draw.svg('title', {}, [ name ]) ]));
		});

		return finish(title, plot.parts);
	},

	/* A line for each uplink; the axis begins at nothing and ignores the worst twentieth. */
	lines: function(title, key, label, least, samples, names, from, to, marks) {
		const shown = samples.filter((sample) => sample.at >= from && sample.at <= to);
		const values = [];

		for (const sample of shown)
			for (const name of names)
				if (sample.uplinks[name] && sample.uplinks[name][key] != null)
					values.push(sample.uplinks[name][key]);

		if (!values.length)
			return E('p', {}, [ E('em', {}, [ _('Nobody measured it.') ]) ]);

		const plot = frame(title, from, to, ceiling(Math.max(percentile(values, 0.95) * 1.2, least)), label, marks);

		names.forEach(function(name, index) {
			let line = [];
			const end = function() {
				if (line.length > 1)
					plot.parts.push(draw.svg('polyline', {
						'points': points(line), 'fill': 'none', 'stroke': draw.colour(index),
						'stroke-width': 2, 'data-uplink': name
					}, [ draw.svg('title', {}, [ name ]) ]));

				line = [];
			};

			for (const sample of shown) {
				const one = sample.uplinks[name];

				if (one && one[key] != null)
					line.push([ plot.x(sample.at), plot.y(one[key]) ]);
				else
					end();
			}

			end();
		});

		return finish(title, plot.parts);
	},

	/* Gaps of the last handovers, one bar each. The first registration interrupted nothing. */
	gaps: function(handovers) {
		const width = 8, height = 28;
		const values = handovers.filter((one) => one.from).map((one) => one.gap_ms).filter((gap) => typeof(gap) == 'number');
		const most = Math.max.apply(null, values.concat([ 1 ]));

		return {
			p50: percentile(values, 0.5),
			p95: percentile(values, 0.95),
			count: values.length,
			node: draw.svg('svg', {
				'viewBox': '0 0 %d %d'.format(Math.max(values.length, 1) * width, height),
				'width': Math.max(values.length, 1) * width, 'height': height, 'class': 'dsmip-spark', 'role': 'img',
				'aria-label': _('Gaps of the last handovers')
			}, values.map((gap, index) => draw.svg('rect', {
				'x': index * width + 1, 'width': width - 2,
				'y': height - Math.max(gap / most * height, 1), 'height': Math.max(gap / most * height, 1)
			}, [ draw.svg('title', {}, [ data.milliseconds(gap) ]) ])))
		};
	}
});
