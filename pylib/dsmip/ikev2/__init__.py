# SPDX-License-Identifier: GPL-2.0-only
"""IKEv2 (RFC 7296): formats, keys and the engine; octets and ``now`` in, effects out."""
