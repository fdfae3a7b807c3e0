# SPDX-License-Identifier: GPL-2.0-only
"""Installable packages for OpenWrt with opkg, without its build system."""
