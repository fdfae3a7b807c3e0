# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's side: netlink, raw sockets, sysctls. No protocol decisions."""
