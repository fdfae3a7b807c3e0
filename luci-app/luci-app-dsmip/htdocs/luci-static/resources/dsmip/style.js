// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require baseclass';

/* Colours of the theme where it names them, so that dark themes stay dark. */
const CSS = [
	'.dsmip-strip{display:flex;flex-wrap:wrap;gap:.4em 1.6em;align-items:baseline;margin:0 0 1em;padding:.7em 1em;',
	'border-radius:6px;border:1px solid var(--border-color-medium,#8884);border-inline-start-width:6px}',
	'.dsmip-strip .state{font-size:150%;font-weight:bold}',
	'.dsmip-strip.good{border-inline-start-color:#009e73}.dsmip-strip.busy{border-inline-start-color:#e69f00}',
	'.dsmip-strip.bad{border-inline-start-color:#d55e00}',
	'.dsmip-strip .item span{opacity:.75}',
	'.dsmip-scroll{overflow-x:auto;max-width:100%}',
	'.dsmip-picture,.dsmip-plot{width:100%;height:auto;max-width:1100px;display:block;direction:ltr}.dsmip-picture{margin:0 auto}',
	'.dsmip-plot{min-width:300px}.dsmip-page .dsmip-table td:first-child{white-space:nowrap}',
	'.dsmip-picture text,.dsmip-plot text{fill:currentColor;font-size:11px}',
	'.dsmip-picture .small{font-size:9.5px;opacity:.85}.dsmip-picture .name{font-weight:bold}',
	'.dsmip-picture rect{fill:var(--background-color-high,#8881);stroke:var(--border-color-high,#888);stroke-width:1}',
	'.dsmip-picture .wire{paint-order:stroke;stroke:var(--background-color-medium,Canvas);stroke-width:5px;opacity:1}',
	'.dsmip-picture .off{opacity:.45}.dsmip-picture .uplink.active rect{stroke-width:2.5;stroke:#009e73}',
	'.dsmip-picture .path{fill:none;stroke-width:3}.dsmip-picture .path.standby{stroke-width:2;stroke-dasharray:6 5;opacity:.7}',
	'.dsmip-picture .path.off{stroke-width:1;stroke-dasharray:2 5;opacity:.4}',
	'.dsmip-plot .grid{stroke:currentColor;opacity:.15}.dsmip-plot .mark{stroke:#d55e00;stroke-dasharray:3 2;stroke-width:1.5}',
	'.dsmip-spark rect{fill:#0072b2}.dsmip-spark{vertical-align:middle}',
	'.dsmip-legend{display:flex;flex-wrap:wrap;gap:.2em 1.2em;margin:.3em 0}',
	'.dsmip-legend i{display:inline-block;width:.9em;height:.9em;border-radius:2px;margin-inline-end:.4em;vertical-align:-1px}',
	'.dsmip-bar{height:.6em;border-radius:.3em;background:var(--border-color-low,#8883);overflow:hidden;min-width:8em;max-width:26em}',
	'.dsmip-bar div{height:100%;background:#0072b2}',
	'.dsmip-card{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.3em 1.2em;margin-bottom:1em}',
	'.dsmip-card dd{margin:0;overflow-wrap:anywhere}.dsmip-card dt{opacity:.75;font-weight:normal}',
	'.dsmip-actions{display:flex;flex-wrap:wrap;gap:.5em;margin:.5em 0}',
	'.dsmip-list{height:60vh;overflow:auto;border:1px solid var(--border-color-medium,#8884);position:relative}',
	'.dsmip-list table{width:100%;margin:0}.dsmip-list th{position:sticky;top:0;background:var(--background-color-high,Canvas);z-index:1}',
	'.dsmip-list td,.dsmip-list th{white-space:nowrap;height:30px;padding:0 .6em;text-align:start}',
	'.dsmip-list td.wide{max-width:22em;overflow:hidden;text-overflow:ellipsis}',
	'.dsmip-table td,.dsmip-table th{text-align:start;vertical-align:top}',
	'.dsmip-dot{display:inline-block;width:.7em;height:.7em;border-radius:50%}',
	'.dsmip-tag{display:inline-block;padding:0 .5em;border-radius:.7em;border:1px solid currentColor;font-size:88%;white-space:nowrap;margin-bottom:.15em}',
	'.dsmip-tag.good{background:#009e73;border-color:#009e73;color:#fff}.dsmip-tag.busy{background:#e69f00;border-color:#e69f00;color:#000}',
	'.dsmip-tag.bad{background:#d55e00;border-color:#d55e00;color:#fff}.dsmip-tag.off{opacity:.6}',
	'.dsmip-bars rect{fill:currentColor;stroke:none;opacity:.2}.dsmip-bars rect.on{opacity:1}.dsmip-picture .dsmip-bars rect{fill:currentColor;stroke:none}',
	'.dsmip-row-actions{display:flex;flex-wrap:wrap;gap:.3em;justify-content:flex-end}.dsmip-gap strong{font-size:170%}',
	'.dsmip-tabs [aria-pressed=true]{font-weight:bold;border-color:currentColor}',
	'.dsmip-welcome{display:block;margin-top:1em}.dsmip-welcome p{margin:.4em 0}',
	'@media (max-width:600px){.dsmip-page .dsmip-none{display:none}.dsmip-card{grid-template-columns:1fr}.dsmip-card dt{margin-top:.4em}.dsmip-strip .state{font-size:130%}}',
	'@media (prefers-reduced-motion:no-preference){.dsmip-picture .path.active{stroke-dasharray:14 4;animation:dsmip-flow 1.2s linear infinite}}',
	'@keyframes dsmip-flow{to{stroke-dashoffset:-18}}'
].join('');

return baseclass.extend({
	/* To be put into the page once; with the page it goes. */
	node: () => E('style', { 'type': 'text/css' }, [ CSS ])
});
