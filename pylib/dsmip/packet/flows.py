# SPDX-License-Identifier: GPL-2.0-only
"""Flow bindings: RFC 6089 options and the traffic selectors of RFC 6088."""

from __future__ import annotations
