# SPDX-License-Identifier: GPL-2.0-only
"""Dual-Stack Mobile IPv6 and Network Mobility for Linux routers."""

__version__ = "0.1.0"
