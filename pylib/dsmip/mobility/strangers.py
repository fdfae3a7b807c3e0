# SPDX-License-Identifier: GPL-2.0-only
"""What is answered to messages and packets that fit nothing (RFC 6275 sections 9.2, 9.3.3)."""

from __future__ import annotations

from ipaddress import IPv6Address

from ..packet.careof import CareOf
from ..packet.errors import PacketError, ParameterProblem, UnknownMessageType
from ..packet.mobility import BindingError, Message, OtherMessage, parse
from ..packet.status import BindingErrorStatus
from .effects import Count, Effect, Note, Path, Received, SendMessage, SendParameterProblem
from .registration import RateLimit, is_routable


class Strangers:
    """Reads messages, and answers those that cannot be read.

    Binding Errors are limited as ICMPv6 errors are: ``burst`` at once, then
    ``rate`` a second.
    """

    def __init__(self, burst: float = 10, rate: float = 10.0) -> None:
        self._errors = RateLimit(burst, rate)

    def read(self, received: Received, now: float) -> Message | list[Effect]:
        """Return the message, or what is done about one that is damaged or unknown."""
        try:
            message = parse(received.data)
        except ParameterProblem as error:
            return [
                Count(error.counter),
                Note("info", f"{sender(received)}: {error.reason}"),
                SendParameterProblem(received, error.code, error.pointer),
            ]
        except UnknownMessageType as error:
            return [Count(error.counter), *self._unknown_type(received, error.reason, now)]
        except PacketError as error:
            return [Count(error.counter), Note("info", f"{sender(received)}: {error.reason}")]
        if isinstance(message, OtherMessage):
            reason = f"mobility header type {message.type} is not known"
            return [Count("mh_unknown_type"), *self._unknown_type(received, reason, now)]
        return message

    def home_address(self, home_address: IPv6Address, path: Path, now: float) -> list[Effect]:
        """Answer a Home Address option without a binding, as the kernel reported it."""
        effects: list[Effect] = [Count("home_address_without_binding")]
        source, local = path.remote, path.local
        if isinstance(source, IPv6Address) and isinstance(local, IPv6Address):
            error = BindingError(BindingErrorStatus.UNKNOWN_BINDING, home_address)
            effects += self._binding_error(error, local, source, now)
        return effects

    def _unknown_type(self, received: Received, reason: str, now: float) -> list[Effect]:
        care_of = received.care_of
        wire, home = received.source, IPv6Address(0)
        answer_by: CareOf | None = None
        if care_of is not None and isinstance(care_of.address, IPv6Address):
            wire, home = care_of.address, received.source
        elif care_of is not None:
            answer_by = care_of
        error = BindingError(BindingErrorStatus.UNKNOWN_TYPE, home)
        return [
            Note("info", f"{sender(received)}: {reason}"),
            *self._binding_error(error, received.destination, wire, now, answer_by),
        ]

    def _binding_error(
        self,
        error: BindingError,
        source: IPv6Address,
        destination: IPv6Address,
        now: float,
        care_of: CareOf | None = None,
    ) -> list[Effect]:
        if not is_routable(destination) or not self._errors.take(now):
            return [Count("binding_error_suppressed")]
        return [SendMessage(error, source, destination, care_of)]


def shown(care_of: CareOf) -> str:
    """Return a care-of address for people."""
    return f"{care_of.address}:{care_of.port}" if care_of.port else str(care_of.address)


def sender(received: Received) -> str:
    """Return who sent a message, for people."""
    if received.care_of is None:
        return str(received.source)
    return f"{received.source} at {shown(received.care_of)}"
