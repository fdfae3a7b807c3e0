# SPDX-License-Identifier: GPL-2.0-only
"""Policies and associations in user space, for signalling where the kernel has no ESP.

It answers what ``linux.xfrm.Xfrm`` answers, so key managers do not know the
difference, and judges mobility messages as the kernel's policies would: what a
policy protects is never taken or sent in clear, and what comes protected must
come under an association of that policy's request id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv6Address
from typing import Final

from .association import (
    MOBILITY_HEADER,
    Address,
    Association,
    Installed,
    Replay,
    SecurityProtocol,
    Selector,
    Usage,
)
from .esp import EspError, EspTransport, spi_of
from .movement import Ability, DropPolicy, PutPolicy, Step
from .policy import Action, Direction, Policy, is_our_reqid

_HOST: Final = 128
Pair = tuple[IPv6Address, IPv6Address]


def _with_counters(transport: EspTransport) -> Installed:
    usage = Usage(transport.octets, transport.packets)
    return Installed(transport.association, Replay(transport.sent), usage)


class NotPossible(Exception):
    """What is asked for needs the kernel's IPsec; the text says what."""


class Held(Exception):
    """A message must not be sent: a policy blocks it, or has no association."""


class SecurityTable:
    """The security policy and association databases of one process."""

    ability = Ability.NONE

    def __init__(self) -> None:
        self._policies: dict[tuple[Direction, Selector], Policy] = {}
        #: Policies between two hosts by these; all others in order of priority.
        self._exact: dict[tuple[Direction, Pair], list[Policy]] = {}
        self._wide: dict[Direction, list[Policy]] = {direction: [] for direction in Direction}
        self._associations: dict[tuple[IPv6Address, int], EspTransport] = {}
        self._outbound: dict[tuple[int, Pair], EspTransport] = {}

    # --- what Xfrm offers to key managers

    def policies(self) -> list[Policy]:
        """Return all policies."""
        return list(self._policies.values())

    def put_policy(self, policy: Policy) -> None:
        """Install a policy, or replace the one with its selector and direction."""
        if policy.template is not None and policy.template.outer is not None:
            raise NotPossible("tunnel mode, as payload protection has it, needs the kernel's ESP")
        self.remove_policy(policy)
        self._policies[policy.direction, policy.selector] = policy
        group = self._group(policy)
        group.append(policy)
        group.sort(key=lambda one: one.priority)

    def remove_policy(self, policy: Policy) -> None:
        """Remove a policy if it is there."""
        before = self._policies.pop((policy.direction, policy.selector), None)
        if before is None:
            return
        group = self._group(before)
        group.remove(before)
        pair = _pair(before.selector)
        if not group and pair is not None:
            del self._exact[before.direction, pair]

    def _group(self, policy: Policy) -> list[Policy]:
        pair = _pair(policy.selector)
        if pair is None:
            return self._wide[policy.direction]
        return self._exact.setdefault((policy.direction, pair), [])

    def associations(self, reqids: Collection[int] = ()) -> list[Association]:
        """Return the associations that are ours, and those with other ``reqids``."""
        found = [one.association for one in self._associations.values()]
        return [one for one in found if is_our_reqid(one.reqid) or one.reqid in reqids]

    def installed(self, reqids: Collection[int] = ()) -> list[Installed]:
        """Return the same with their counters."""
        wanted = set(self.associations(reqids))
        held = self._associations.values()
        return [_with_counters(one) for one in held if one.association in wanted]

    def read(
        self,
        destination: Address,
        spi: int,
        protocol: SecurityProtocol = SecurityProtocol.ESP,
    ) -> Installed | None:
        """Return one association with its counters, None when it is not there."""
        if protocol is not SecurityProtocol.ESP or not isinstance(destination, IPv6Address):
            return None
        found = self._associations.get((destination, spi))
        return None if found is None else _with_counters(found)

    def add_association(self, association: Association) -> None:
        """Add an association. Raises ``NotPossible`` for what only the kernel does."""
        try:
            transport = EspTransport(association)
        except ValueError as error:
            raise NotPossible(str(error)) from None
        source, destination = association.ends
        assert isinstance(source, IPv6Address)
        assert isinstance(destination, IPv6Address)
        self._associations[destination, association.spi] = transport
        self._outbound[association.reqid, (source, destination)] = transport

    def remove_association(self, association: Association) -> None:
        """Remove an association if it is there."""
        source, destination = association.ends
        assert isinstance(source, IPv6Address)
        assert isinstance(destination, IPv6Address)
        transport = self._associations.pop((destination, association.spi), None)
        key = association.reqid, (source, destination)
        if transport is not None and self._outbound.get(key) is transport:
            del self._outbound[key]

    def carry(self, steps: Iterable[Step]) -> None:
        """Carry out a movement plan; transport mode has only policies to move."""
        for step in steps:
            if isinstance(step, PutPolicy):
                self.put_policy(step.policy)
            elif isinstance(step, DropPolicy):
                self.remove_policy(step.policy)
            else:
                raise NotPossible(f"{type(step).__name__} needs the kernel's IPsec")

    def close(self) -> None:
        """Nothing is held open."""

    def clear(self, reqids: Collection[int] = ()) -> None:
        """Forget all."""
        del reqids
        for association in list(self._associations.values()):
            self.remove_association(association.association)
        for policy in list(self._policies.values()):
            self.remove_policy(policy)

    # --- what messages ask

    def _policy(
        self, direction: Direction, source: IPv6Address, destination: IPv6Address, kind: int
    ) -> Policy | None:
        found: Policy | None = None
        for group in (
            self._exact.get((direction, (source, destination)), ()),
            self._wide[direction],
        ):
            for policy in group:
                if found is not None and found.priority <= policy.priority:
                    break
                if _matches(policy.selector, source, destination, kind):
                    found = policy
                    break
        return found

    def protect(self, source: IPv6Address, destination: IPv6Address, message: bytes) -> bytes:
        """Return the ESP packet of a mobility message, or the message itself.

        Raises ``Held`` when it must not leave.
        """
        policy = self._policy(Direction.OUT, source, destination, message[2])
        if policy is None or policy.action is Action.BYPASS:
            return message
        if policy.action is Action.BLOCK or policy.template is None:
            raise Held(f"a policy blocks mobility messages from {source} to {destination}")
        transport = self._outbound.get((policy.template.reqid, (source, destination)))
        if transport is None:
            raise Held(f"no keys yet between {source} and {destination}")
        return transport.seal(message, MOBILITY_HEADER)

    def unprotect(self, source: IPv6Address, destination: IPv6Address, packet: bytes) -> bytes:
        """Return the mobility message in an ESP packet. Raises ``EspError``."""
        transport = self._associations.get((destination, spi_of(packet)))
        if transport is None:
            raise EspError("esp_unknown", f"SPI 0x{spi_of(packet):08x} is not known")
        association = transport.association
        if association.source != source:
            raise EspError("esp_mismatch", f"SPI 0x{association.spi:08x} is not that of {source}")
        next_header, message = transport.open(packet)
        if next_header != MOBILITY_HEADER or len(message) < 8:
            raise EspError("esp_mismatch", f"protocol {next_header} under keys for signalling")
        policy = self._policy(Direction.IN, source, destination, message[2])
        template = None if policy is None else policy.template
        if policy is None or policy.action is not Action.PROTECT or template is None:
            raise EspError("esp_mismatch", f"no policy protects {source} to {destination}")
        if template.reqid != association.reqid:
            raise EspError("esp_mismatch", f"SPI 0x{association.spi:08x} is another policy's")
        return message

    def admits(self, source: IPv6Address, destination: IPv6Address, message: bytes) -> bool:
        """Whether a mobility message may come in clear."""
        policy = self._policy(Direction.IN, source, destination, message[2])
        return policy is None or policy.action is Action.BYPASS


def _pair(selector: Selector) -> Pair | None:
    source, destination = selector.source, selector.destination
    if source.version != 6 or source.prefixlen != _HOST or destination.prefixlen != _HOST:
        return None
    return IPv6Address(int(source.network_address)), IPv6Address(int(destination.network_address))


def _matches(selector: Selector, source: IPv6Address, destination: IPv6Address, kind: int) -> bool:
    return (
        selector.protocol in (0, MOBILITY_HEADER)
        and (selector.protocol == 0 or selector.source_port in (None, kind))
        and source in selector.source
        and destination in selector.destination
    )
