#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Run by the feeds' CI in a root file system with the package: NAME VERSION.

[ "$1" = python3-dsmip ] || exit 0

python3 - "$2" <<-'EOT'
	import sys

	import dsmip
	import dsmip.service.dsmipd

	assert dsmip.__version__ == sys.argv[1]
EOT
