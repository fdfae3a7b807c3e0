# SPDX-License-Identifier: GPL-2.0-only
#
# A Python package installs what IPK_PYTHON makes of pylib/: byte code for the
# release's interpreter, next to nothing else, as OpenWrt's own rules do.

define Py3Package
define Package/$(1)/install
	$(INSTALL_DIR) $$(1)
	$(IPK_PYTHON) $(DSMIP_ROOT)/pylib $$(1) $(if $(filter dsmip-diag,$(1)),dsmip_diag,dsmip)
endef
define Package/$(1)-src
$(call Package/$(1))
endef
endef
