# SPDX-License-Identifier: GPL-2.0-only
#
# What all packages of this feed have in common. The version is that of the
# library, written down there and nowhere else.

DSMIP_ROOT:=$(CURDIR)/../..

PKG_VERSION:=$(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' $(DSMIP_ROOT)/pylib/dsmip/__init__.py)
PKG_RELEASE:=1
PKG_LICENSE:=GPL-2.0-only
PKG_LICENSE_FILES:=LICENSE
PKG_MAINTAINER:=dsmip developers
