#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Run by the feeds' CI in a root file system with the package: NAME VERSION.

case "$1" in
dsmip)
	dsmip --version | grep -F "$2" || exit 1
	dsmipd --version | grep -F "$2" || exit 1
	;;
esac
