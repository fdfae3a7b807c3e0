# SPDX-License-Identifier: GPL-2.0-only
"""Which IPsec policies and associations exist; computes rows, does no I/O."""
