# SPDX-License-Identifier: GPL-2.0-only
#
# BuildPackage writes what a package is into $(OUT)/meta, and has a target
# install-NAME that runs its install recipe into $(OUT)/root/NAME.

IPK_FIELDS:=SECTION TITLE DEPENDS PKGARCH PROVIDES CONFLICTS FILE_MODES
IPK_TEXTS:=description conffiles preinst postinst prerm postrm

define IPK_Fields
$(foreach field,$(IPK_FIELDS),$(eval $(field):=))
$(eval $(Package/$(1)))
$(foreach field,$(IPK_FIELDS),$(file >$(OUT)/meta/$(1).$(field),$(strip $($(field)))))
$(foreach text,$(IPK_TEXTS),$(file >$(OUT)/meta/$(1).$(text),$(Package/$(1)/$(text))))
$(foreach name,PKG_NAME PKG_VERSION PKG_RELEASE PKG_LICENSE PKG_MAINTAINER,$(file >$(OUT)/meta/$(1).$(name),$(strip $($(name)))))
endef

define BuildPackage
$(call IPK_Fields,$(1))
.PHONY: install-$(1)
install-$(1):
	$(call Package/$(1)/install,$(OUT)/root/$(1))
endef
