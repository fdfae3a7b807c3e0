# SPDX-License-Identifier: GPL-2.0-only
"""The daemon: configuration, engines wired to the kernel, control, status."""
