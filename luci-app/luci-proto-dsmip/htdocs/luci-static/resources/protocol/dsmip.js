// SPDX-License-Identifier: GPL-2.0-only
'use strict';
'require network';
'require form';

/* The tunnel as an interface: dsmipd has the device, netifd is told of it. */
network.registerErrorCode('NO_DAEMON', _('The daemon dsmipd does not run.'));
network.registerPatternVirtual(/^mip\d+$/);

return network.registerProtocol('dsmip', {
	getI18n: function() {
		return _('Mobile IPv6 (dsmip)');
	},

	getIfname: function() {
		return this._ubus('l3_device') || 'mip0';
	},

	getPackageName: function() {
		return 'dsmip';
	},

	isFloating: function() {
		return true;
	},

	isVirtual: function() {
		return true;
	},

	getDevices: function() {
		return null;
	},

	containsDevice: function(ifname) {
		return (network.getIfnameOf(ifname) == this.getIfname());
	},

	renderFormOptions: function(s) {
		let o;

		o = s.taboption('general', form.DummyValue, '_where', _('Settings'));
		o.rawhtml = true;
		o.cfgvalue = function() {
			return E('a', { 'href': L.url('admin/services/dsmip') }, [ _('under Services, Mobility') ]);
		};

		o = s.taboption('advanced', form.Flag, 'delegate', _('Hand prefixes out'), _('The mobile network’s prefixes, to interfaces that take a part of one.'));
		o.default = o.enabled;

		o = s.taboption('advanced', form.Flag, 'defaultroute', _('Use as default gateway'), _('For what has an address of the mobile network as its source.'));
		o.default = o.enabled;

		o = s.taboption('advanced', form.Value, 'metric', _('Gateway metric'));
		o.datatype = 'uinteger';
		o.placeholder = '0';
	}
});
