# SPDX-License-Identifier: GPL-2.0-only
"""Protocol engines: inputs and ``now`` in, effects out; no I/O."""
