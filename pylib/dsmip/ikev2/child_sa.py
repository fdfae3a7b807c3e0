# SPDX-License-Identifier: GPL-2.0-only
"""Child SAs: what one is, and how two ends agree on it (RFC 7296 sections 2.9, 2.17, 2.23.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .config import Address, ChildConfig, Lifetime, Mode
from .contents import Contents, Refused, need
from .crypto import PrivateKey, generate, respond
from .effects import ChildSa, DirectionKeys, Ends
from .errors import RemoteError
from .keys import child as child_keys
from .numbers import NotifyType, ProtocolId, TransformType
from .payloads import KE, SA, Nonce, Notify, Payload, TSi, TSr
from .proposals import Proposal, Suite, accepted, select, with_spi, without_ke
from .selectors import TrafficSelector, covers, narrow
from .states import ChildEvent, ChildState, child_after

if TYPE_CHECKING:
    from .core import Core
    from .ike_sa import IkeSa

Selectors = tuple[TrafficSelector, ...]
#: Selectors (local, remote) of a packet that waits for a child.
Trigger = tuple[TrafficSelector, TrafficSelector]


@dataclass(slots=True, eq=False)
class Child:
    """One installed pair of SAs; ``sa`` is how the kernel has it now.

    ``outbound`` tells that its outbound SA is installed too. ``successor`` took
    over from it. ``nonces`` are those that made it, for the rule of collisions.
    """

    sa: ChildSa
    config: ChildConfig
    ike: IkeSa
    created: float
    nonces: tuple[bytes, bytes] = (b"", b"")
    state: ChildState = ChildState.INSTALLED
    outbound: bool = True
    successor: Child | None = None
    rekey_at: float | None = None
    failing_since: float | None = None

    def change(self, event: ChildEvent) -> None:
        """Change the state. Raises ``LocalError`` where that makes no sense."""
        self.state = child_after(self.state, event)

    def move(self, ends: Ends) -> Ends | None:
        """Let it be between ``ends``; return the old ones, None when it does not follow."""
        if self.sa.fixed:
            return None
        old = self.sa.ends
        self.sa = replace(self.sa, ends=ends)
        return old

    def adopt(self, ike: IkeSa) -> None:
        """Put it below another IKE SA."""
        self.ike = ike
        self.sa = replace(self.sa, ike=ike.id)

    @property
    def spi_in(self) -> bytes:
        """Our inbound SPI as sent."""
        return self.sa.spi_in.to_bytes(4)

    def __str__(self) -> str:
        return f"{self.sa.name}{{{self.sa.id}}}"


@dataclass(slots=True, eq=False)
class Agreed:
    """A child that both ends agreed on; ``secrets`` of all key exchanges make its keys."""

    config: ChildConfig
    suite: Suite
    mode: Mode
    spi_in: int
    spi_out: int
    nonce_i: bytes
    nonce_r: bytes
    local: Selectors
    remote: Selectors
    initiator: bool
    rekeyed: Child | None = None
    secrets: list[bytes] = field(default_factory=list, repr=False)

    @property
    def lowest_nonce(self) -> bytes:
        """The lower nonce, compared octet by octet (RFC 7296 section 2.8.1)."""
        return min(self.nonce_i, self.nonce_r)


def install(core: Core, sa: IkeSa, agreed: Agreed, outbound: bool = True) -> Child:
    """Make keys for what was agreed on and install it below ``sa``."""
    assert sa.connection is not None
    assert sa.keys is not None
    assert sa.suite is not None
    keys = child_keys(
        agreed.suite,
        sa.keys,
        agreed.nonce_i,
        agreed.nonce_r,
        agreed.secrets[0] if agreed.secrets else b"",
        tuple(agreed.secrets[1:]),
    )
    ours = DirectionKeys(keys.encryption_i, keys.integrity_i)
    theirs = DirectionKeys(keys.encryption_r, keys.integrity_r)
    if not agreed.initiator:
        ours, theirs = theirs, ours
    config = agreed.config
    if config.endpoints is not None:
        ends = Ends(*config.endpoints)
    else:
        ends = sa.tunnel or core.path_ends(sa)
    lifetime = config.lifetime
    if config.jitter:
        lifetime = _jittered(core, lifetime, config.jitter)
    child = Child(
        ChildSa(
            core.new_id(),
            sa.id,
            sa.connection.name,
            config.name,
            config.reqid,
            ProtocolId(agreed.suite.protocol),
            agreed.mode,
            agreed.spi_in,
            agreed.spi_out,
            agreed.suite,
            keys_in=theirs,
            keys_out=ours,
            local=agreed.local,
            remote=agreed.remote,
            ends=ends,
            fixed=config.endpoints is not None,
            lifetime=lifetime,
            initiator=agreed.initiator,
            replaces=agreed.rekeyed.sa.id if agreed.rekeyed else None,
        ),
        config,
        sa,
        core.now,
        (agreed.nonce_i, agreed.nonce_r),
    )
    core.add_child(sa, child, outbound)
    return child


def _jittered(core: Core, lifetime: Lifetime, jitter: float) -> Lifetime:
    return replace(
        lifetime,
        soft_seconds=core.jittered(lifetime.soft_seconds, jitter),
        soft_bytes=int(core.jittered(lifetime.soft_bytes, jitter)),
        soft_packets=int(core.jittered(lifetime.soft_packets, jitter)),
    )


# --- the end that asks ----------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Offer:
    """What we offered for a child, until the answer comes."""

    config: ChildConfig
    spi: int
    proposals: tuple[Proposal, ...]
    nonce: bytes
    local: Selectors
    remote: Selectors
    private: PrivateKey | None = None
    rekeyed: Child | None = None

    def payloads(self) -> list[Payload]:
        """Return the payloads that offer it; without a nonce those of IKE_AUTH."""
        found: list[Payload] = []
        if self.config.mode is Mode.TRANSPORT:
            found.append(Notify(NotifyType.USE_TRANSPORT_MODE))
        found.append(SA(self.proposals))
        if self.nonce:
            found.append(Nonce(self.nonce))
        if self.private is not None:
            found.append(KE(self.private.method, self.private.public))
        found += (TSi(self.local), TSr(self.remote))
        return found


def offer(
    core: Core,
    sa: IkeSa,
    config: ChildConfig,
    *,
    initial: bool = False,
    group: int | None = None,
    rekeyed: Child | None = None,
    trigger: Trigger | None = None,
) -> Offer:
    """Return an offer for ``config``, which is resolved already.

    ``group`` is the key exchange method that the other side wants instead of our
    first one. A rekey offers the selectors in use.
    """
    local, remote = (rekeyed.sa.local, rekeyed.sa.remote) if rekeyed else sides(sa, config)
    if trigger is not None:
        # The packet that asked comes first (RFC 7296 section 2.9).
        local = (trigger[0], *(s for s in local if s != trigger[0]))
        remote = (trigger[1], *(s for s in remote if s != trigger[1]))
    spi = core.new_child_spi()
    proposals = without_ke(config.proposals) if initial else config.proposals
    private = None
    if not initial:
        if group is None:
            wanted = [m for p in proposals for m in p.ids(TransformType.KE)]
            group = wanted[0] if wanted else 0
        private = generate(group) if group else None
    return Offer(
        config,
        spi,
        with_spi(proposals, spi.to_bytes(4)),
        b"" if initial else core.random(32),
        local,
        remote,
        private,
        rekeyed,
    )


def conclude(sa: IkeSa, offered: Offer, contents: Contents) -> Agreed:
    """Return what the answer makes of an offer.

    Raises ``Refused`` when the other side does, ``RemoteError`` for an answer that
    does not fit: then it has made what we cannot use.
    """
    error = contents.error
    if contents.sa is None and error is not None:
        raise Refused(error)
    suite = accepted(need(contents.sa, "SA").proposals, offered.proposals)
    if len(suite.spi) != 4 or not any(suite.spi):
        raise RemoteError("child SA without SPI")
    secrets = []
    initial = not offered.nonce
    nonce_i, nonce_r = sa.nonce_i, sa.nonce_r
    if not initial:
        nonce_i, nonce_r = offered.nonce, need(contents.nonce, "Nonce").data
        if suite.ke:
            theirs = need(contents.ke, "KE")
            if offered.private is None or theirs.method != suite.ke != offered.private.method:
                raise RemoteError(f"key exchange method {theirs.method} was not on offer")
            secrets.append(offered.private.shared(theirs.data))
    local = tuple(need(contents.tsi, "TSi").selectors)
    remote = tuple(need(contents.tsr, "TSr").selectors)
    if not (local and remote and covers(offered.local, local) and covers(offered.remote, remote)):
        raise RemoteError("selectors that were not on offer", NotifyType.TS_UNACCEPTABLE)
    mode = Mode.TUNNEL
    if contents.has(NotifyType.USE_TRANSPORT_MODE):
        mode = Mode.TRANSPORT
    if mode is not offered.config.mode:
        raise RemoteError(f"{mode.value} mode was not on offer", NotifyType.NO_PROPOSAL_CHOSEN)
    return Agreed(
        offered.config,
        suite,
        mode,
        offered.spi,
        int.from_bytes(suite.spi),
        nonce_i,
        nonce_r,
        local,
        remote,
        True,
        offered.rekeyed,
        secrets,
    )


# --- the end that answers -----------------------------------------------------------------


def answer(
    core: Core,
    sa: IkeSa,
    contents: Contents,
    configs: Iterable[ChildConfig],
    *,
    initial: bool = False,
    rekeyed: Child | None = None,
) -> tuple[Agreed, list[Payload]]:
    """Choose from what the other side offers; return it with the payloads that say so.

    Raises ``RemoteError`` with the notify that refuses.
    """
    offered = need(contents.sa, "SA").proposals
    tsi, tsr = need(contents.tsi, "TSi").selectors, need(contents.tsr, "TSr").selectors
    if not initial:
        need(contents.nonce, "Nonce")
    transport = contents.has(NotifyType.USE_TRANSPORT_MODE)
    choice = _choose(sa, configs, tsi, tsr, transport)
    config = choice.config
    if rekeyed is not None and not (
        covers(choice.remote, rekeyed.sa.remote) and covers(choice.local, rekeyed.sa.local)
    ):
        raise RemoteError("a rekey narrows its selectors", NotifyType.TS_UNACCEPTABLE)
    allowed = without_ke(config.proposals) if initial else config.proposals
    suite = _select(offered, allowed, contents.ke.method if contents.ke and not initial else 0)
    if len(suite.spi) != 4 or not any(suite.spi):
        raise RemoteError("child SA without SPI", NotifyType.NO_PROPOSAL_CHOSEN)
    spi = core.new_child_spi()
    payloads: list[Payload] = []
    if choice.mode is Mode.TRANSPORT:
        payloads.append(Notify(NotifyType.USE_TRANSPORT_MODE))
    if choice.more:
        payloads.append(Notify(NotifyType.ADDITIONAL_TS_POSSIBLE))
    payloads.append(SA((suite.answer(spi.to_bytes(4)),)))
    nonce_i, nonce_r, secrets = sa.nonce_i, sa.nonce_r, []
    if not initial:
        nonce_i, nonce_r = need(contents.nonce, "Nonce").data, core.random(32)
        payloads.append(Nonce(nonce_r))
        if suite.ke:
            public, secret = respond(suite.ke, need(contents.ke, "KE").data)
            secrets.append(secret)
            payloads.append(KE(suite.ke, public))
    payloads += (TSi(choice.said_remote), TSr(choice.said_local))
    return (
        Agreed(
            config,
            suite,
            choice.mode,
            spi,
            int.from_bytes(suite.spi),
            nonce_i,
            nonce_r,
            choice.local,
            choice.remote,
            False,
            rekeyed,
            secrets,
        ),
        payloads,
    )


def _select(offered: Sequence[Proposal], allowed: Iterable[Proposal], group: int) -> Suite:
    """Choose with the key exchange method that came along, 0 for none."""
    allowed = tuple(allowed)
    try:
        return select(offered, allowed, group)
    except RemoteError as error:
        # We want no key exchange and were given one: it is left unanswered.
        if error.notify == NotifyType.INVALID_KE_PAYLOAD and error.data == b"\0\0":
            return select(offered, allowed, 0)
        raise


# --- selectors ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Choice:
    config: ChildConfig
    mode: Mode
    local: Selectors
    remote: Selectors
    said_local: Selectors
    said_remote: Selectors
    more: bool = False


def sides(sa: IkeSa, config: ChildConfig) -> tuple[Selectors, Selectors]:
    """Return the selectors of a child, cut down to its ends in transport mode."""
    if config.mode is Mode.TUNNEL:
        return config.local, config.remote
    local, remote = config.endpoints or (sa.local.address, sa.remote.address)
    return _at(config.local, local), _at(config.remote, remote)


def _at(selectors: Selectors, address: Address) -> Selectors:
    if address.is_unspecified:
        return selectors
    host = TrafficSelector.from_network(address)
    return narrow(selectors, (host,))


def _choose(
    sa: IkeSa,
    configs: Iterable[ChildConfig],
    tsi: Sequence[TrafficSelector],
    tsr: Sequence[TrafficSelector],
    transport: bool,
) -> _Choice:
    """Return the configuration that fits an offer best."""
    other_mode = False
    fits: list[_Choice] = []
    for config in configs:
        if config.unresolved:
            # Nobody may choose for itself what was not assigned to it.
            continue
        tsi_seen, tsr_seen = tsi, tsr
        swap = transport and config.mode is Mode.TRANSPORT and _substitutes(sa, config)
        if swap:
            tsi_seen = _swapped(tsi, tsi[0].first, sa.remote.address)
            tsr_seen = _swapped(tsr, tsr[0].first, sa.local.address)
        allowed_local, allowed_remote = sides(sa, config)
        remote = narrow(tsi_seen, allowed_remote)
        local = narrow(tsr_seen, allowed_local)
        if not (local and remote):
            continue
        if config.mode is Mode.TRANSPORT and not transport:
            other_mode = True
            continue
        choice = _Choice(config, config.mode, local, remote, local, remote)
        if swap:
            choice.said_remote = tuple(_swapped(remote, sa.remote.address, tsi[0].first))
            choice.said_local = tuple(_swapped(local, sa.local.address, tsr[0].first))
        fits.append(choice)
    if not fits and other_mode:
        raise RemoteError("tunnel mode is not wanted here", NotifyType.NO_PROPOSAL_CHOSEN)
    if not fits:
        raise RemoteError(
            f"selectors {', '.join(map(str, tsi))} === {', '.join(map(str, tsr))}"
            " are not for this peer",
            NotifyType.TS_UNACCEPTABLE,
        )
    if len(fits) == 1:
        return fits[0]
    best = max(fits, key=lambda choice: _score(sa, choice, tsi, tsr, transport))
    best.more = any(
        c.mode is best.mode and not (covers(best.remote, c.remote) and covers(best.local, c.local))
        for c in fits
    )
    return best


def _score(
    sa: IkeSa,
    choice: _Choice,
    tsi: Sequence[TrafficSelector],
    tsr: Sequence[TrafficSelector],
    transport: bool,
) -> int:
    """Return how well a choice fits: the mode first, then all of the offer, then all of ours."""
    allowed_local, allowed_remote = sides(sa, choice.config)
    score = 8 * (transport == (choice.mode is Mode.TRANSPORT))
    score += 2 * (covers(choice.said_remote, tsi) + covers(choice.said_local, tsr))
    return score + covers(choice.remote, allowed_remote) + covers(choice.local, allowed_local)


def _substitutes(sa: IkeSa, config: ChildConfig) -> bool:
    """Whether a NAT between hosts changes what their selectors say (section 2.23.1).

    Never for fixed ends: home addresses are not what a NAT sees.
    """
    return config.endpoints is None and sa.encapsulated


def _swapped(
    selectors: Iterable[TrafficSelector], old: Address, new: Address
) -> list[TrafficSelector]:
    return [replace(s, first=new, last=new) if s.first == s.last == old else s for s in selectors]
