# SPDX-License-Identifier: GPL-2.0-only
#
# The part of OpenWrt's rules.mk that our package Makefiles use, so that they can
# be evaluated, and their install recipes run, where there is no OpenWrt.

SHELL:=/bin/sh
INCLUDE_DIR:=$(TOPDIR)/include
PKG_BUILD_DIR=$(OUT)/build/$(PKG_NAME)

CP:=cp -fpR
INSTALL_DIR:=install -d -m0755
INSTALL_BIN:=install -m0755
INSTALL_DATA:=install -m0644
INSTALL_CONF:=install -m0600
