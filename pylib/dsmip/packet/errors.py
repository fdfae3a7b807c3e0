# SPDX-License-Identifier: GPL-2.0-only
"""What is wrong with a received message, and what must be answered.

These errors are about octets someone else sent. A value of ours that does not
fit its field raises ``ValueError`` from the builders, never ``PacketError``.
"""

from __future__ import annotations


class PacketError(ValueError):
    """A received message is refused; the subclass names the answer.

    ``reason`` is a text for the log, ``counter`` the name of the counter to
    raise.
    """

    counter = "mh_malformed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Malformed(PacketError):
    """Drop in silence: nothing in the RFCs asks for an answer."""


class UnknownMessageType(PacketError):
    """Drop and send a Binding Error with ``status`` (RFC 6275 section 9.2)."""

    counter = "mh_unknown_type"
    status = 2

    def __init__(self, mh_type: int) -> None:
        super().__init__(f"mobility header type {mh_type} is not known")
        self.mh_type = mh_type


class ParameterProblem(PacketError):
    """Drop and send ICMPv6 Parameter Problem (RFC 6275 section 9.2).

    ``pointer`` counts octets from the start of the mobility header.
    """

    counter = "mh_parameter_problem"

    def __init__(self, reason: str, pointer: int, code: int = 0) -> None:
        super().__init__(reason)
        self.pointer = pointer
        self.code = code
