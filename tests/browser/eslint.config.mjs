// SPDX-License-Identifier: GPL-2.0-only
/* LuCI's own rules and globals; its modules are function bodies that return. */
const globals = {};

for (const name of [ '_', 'N_', 'E', 'L', 'TR', 'LuCI', 'window', 'document', 'console', 'fetch', 'location', 'navigator', 'URL', 'Blob', 'Node',
	'sessionStorage', 'CustomEvent', 'baseclass', 'dom', 'form', 'network', 'poll', 'rpc', 'uci', 'ui', 'view',
	'widgets', 'data', 'draw', 'enrol', 'failover', 'faults', 'files', 'fleet', 'options', 'picture', 'plot', 'qr', 'rows', 'states', 'style', 'uplinks', 'wizard' ])
	globals[name] = 'readonly';

export default [ {
	files: [ '**/*.js' ],
	languageOptions: {
		ecmaVersion: 2020, sourceType: 'script', globals,
		parserOptions: { ecmaFeatures: { globalReturn: true } }
	},
	linterOptions: { reportUnusedDisableDirectives: true },
	rules: {
		'no-undef': 'error', 'no-unused-vars': [ 'error', { args: 'none', caughtErrors: 'none' } ],
		'no-redeclare': 'error', 'no-dupe-keys': 'error', 'no-unreachable': 'error', 'no-const-assign': 'error',
		'no-cond-assign': 'error', 'no-empty': [ 'error', { allowEmptyCatch: true } ], 'no-fallthrough': 'error',
		'no-inner-declarations': 'error', 'no-prototype-builtins': 'off', 'no-useless-escape': 'error', 'strict': 'off',
		'no-eval': 'error', 'no-control-regex': 'off', 'prefer-const': 'error', 'no-var': 'error'
	}
} ];
