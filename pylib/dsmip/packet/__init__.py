# SPDX-License-Identifier: GPL-2.0-only
"""Wire formats of Mobile IPv6 and its extensions."""
