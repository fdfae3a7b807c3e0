# SPDX-License-Identifier: GPL-2.0-only
#
# What LuCI's luci.mk makes of an application: htdocs/ goes to /www, root/ to /, and
# after an installation LuCI forgets what it knew and rpcd reads the rights anew.
# Translations are packages of their own there; here there are none.

include $(INCLUDE_DIR)/package.mk

PKG_NAME:=$(notdir $(CURDIR))

define Package/$(PKG_NAME)
  SECTION:=luci
  TITLE:=$(LUCI_TITLE)
  DEPENDS:=$(LUCI_DEPENDS)
  PKGARCH:=$(LUCI_PKGARCH)
endef

define Package/$(PKG_NAME)/description
  $(LUCI_TITLE)
endef

define Package/$(PKG_NAME)/postinst
[ -n "$${IPKG_INSTROOT}" ] || {
	rm -f /tmp/luci-indexcache.*
	rm -rf /tmp/luci-modulecache/
	/etc/init.d/rpcd reload 2>/dev/null
	exit 0
}
endef

define Package/$(PKG_NAME)/install
	$(INSTALL_DIR) $(1)/www
	$(CP) htdocs/. $(1)/www/
	if [ -d root ]; then $(CP) root/. $(1)/; fi
endef

$(eval $(call BuildPackage,$(PKG_NAME)))
