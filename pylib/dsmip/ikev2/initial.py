# SPDX-License-Identifier: GPL-2.0-only
"""IKE_SA_INIT, both ends (RFC 7296 sections 1.2, 2.6, 2.7, 2.21.1, 2.23)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import nat
from .authentication import HASH_ALGORITHMS
from .config import Address, Connection, Movement
from .contents import Contents, describe, need, sort
from .core import Core, Timer
from .crypto import PrivateKey, check_suite, generate
from .effects import DownCause, Endpoint, Redirected
from .errors import Ignored, LocalError, RemoteError
from .half_open import admit, admitted, half_open, repeated
from .ike_sa import IkeSa
from .keys import IkeKeys
from .keys import initial as initial_keys
from .message import NO_SPI, Header, parse
from .numbers import ExchangeType, NotifyType, TransformType
from .payloads import KE, SA, CertReq, Nonce, Notify, Payload, VendorId
from .proposals import accepted, select, with_spi
from .redirect import read_redirect, redirect_notify, redirected_from
from .request import FirstRequest
from .states import IkeEvent

#: COOKIE and INVALID_KE_PAYLOAD answers that an attempt follows in all.
RESTARTS: Final = 8
_HASHES: Final = b"".join(int(number).to_bytes(2) for number in HASH_ALGORITHMS)


def hashes_notify() -> Notify:
    """Return SIGNATURE_HASH_ALGORITHMS (RFC 7427 section 4)."""
    return Notify(NotifyType.SIGNATURE_HASH_ALGORITHMS, _HASHES)


def read_hashes(contents: Contents) -> tuple[int, ...] | None:
    """Return the hash algorithms that the other side takes, None when it does not say."""
    notify = contents.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS)
    if notify is None:
        return None
    data = notify.data
    return tuple(int.from_bytes(data[at : at + 2]) for at in range(0, len(data) - 1, 2))


def use_keys(sa: IkeSa, keys: IkeKeys) -> None:
    """Protect messages of ``sa`` with ``keys`` from now on."""
    assert sa.suite is not None
    sa.keys = keys
    of_initiator, of_responder = keys.ciphers(sa.suite)
    if sa.initiator:
        sa.cipher_out, sa.cipher_in = of_initiator, of_responder
    else:
        sa.cipher_out, sa.cipher_in = of_responder, of_initiator


# --- the initiator --------------------------------------------------------------------


class InitRequest(FirstRequest):
    """Our IKE_SA_INIT request; ``done`` goes on once it is answered."""

    __slots__ = ("_cookie", "_done", "_group", "_private", "_restarts", "proposals", "refusal")

    TYPE = ExchangeType.IKE_SA_INIT

    def __init__(self, connection: Connection, done: Callable[[Core, IkeSa], None]) -> None:
        self.proposals = with_spi(connection.proposals, b"")
        self.refusal: tuple[int, str] | None = None
        self._done = done
        self._group = self.proposals[0].ids(TransformType.KE)[0]
        self._private: PrivateKey | None = None
        self._cookie = b""
        self._restarts = 0

    def start(self, core: Core, sa: IkeSa) -> None:
        """Send the request, for the first time or changed."""
        connection = sa.connection
        assert connection is not None
        if self._private is None:
            self._private = generate(self._group)
        payloads: list[Payload] = [
            SA(self.proposals),
            KE(self._private.method, self._private.public),
            Nonce(sa.nonce_i),
            *offer_features(sa, connection),
            hashes_notify(),
        ]
        if connection.ppks:
            payloads.append(Notify(NotifyType.USE_PPK))
        if any(len(p.ids(kind)) for p in self.proposals for kind in _ADDITIONAL):
            payloads.append(Notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED))
        if sa.redirected_from is not None:
            payloads.append(redirected_from(sa.redirected_from))
        elif connection.follow_redirect:
            payloads.append(Notify(NotifyType.REDIRECT_SUPPORTED))
        payloads += (VendorId(vendor) for vendor in core.config.vendor_ids)
        self.send(core, sa, payloads, self._cookie)

    def received(
        self, core: Core, sa: IkeSa, data: bytes, header: Header, local: Endpoint, remote: Endpoint
    ) -> None:
        """Take an answer, which anybody may have sent."""
        try:
            contents = sort(parse(data, header).payloads)
            if self._again(core, sa, contents):
                return
            self._accept(core, sa, data, contents, header, local, remote)
        except RemoteError as error:
            raise Ignored(f"IKE_SA_INIT answer: {error.reason}", "ike_bad_answer") from None
        self._done(core, sa)

    def _again(self, core: Core, sa: IkeSa, contents: Contents) -> bool:
        """Follow an answer that wants something else; True when it was one."""
        cookie = contents.notify(NotifyType.COOKIE)
        other_group = contents.notify(NotifyType.INVALID_KE_PAYLOAD)
        gateway = contents.notify(NotifyType.REDIRECT)
        if cookie is None and other_group is None and gateway is None:
            if contents.sa is not None or contents.error is None:
                return False
            error = contents.error
            if self.refusal is None:
                # Anybody may have sent it: a better answer is waited for a while.
                self.refusal = error.type, f"the other side says {describe(error.type)}"
                core.timers.set((Timer.REFUSAL, sa.id, 0), core.now + core.config.refusal_wait)
            return True
        if gateway is not None:
            self._redirected(core, sa, gateway)
            return True
        if self._restarts >= RESTARTS:
            raise RemoteError("too many answers that want another request")
        if cookie is not None:
            if not 1 <= len(cookie.data) <= 64:
                raise RemoteError(f"cookie of {len(cookie.data)} octets")
            self._cookie = cookie.data
        elif other_group is not None:
            group = int.from_bytes(other_group.data[:2])
            offered = {g for p in self.proposals for g in p.ids(TransformType.KE)}
            if group not in offered or group == self._group:
                raise RemoteError(f"key exchange method {group} was not on offer")
            self._group, self._private = group, None
        self._restarts += 1
        self.start(core, sa)
        return True

    def _redirected(self, core: Core, sa: IkeSa, notify: Notify) -> None:
        connection = sa.connection
        assert connection is not None
        gateway, nonce = read_redirect(notify)
        if not connection.follow_redirect or nonce != sa.nonce_i:
            raise RemoteError("redirect that was not asked for")
        if not core.loops.follow(connection.name, core.now):
            core.down(sa, DownCause.REFUSED, "redirected too often", notify.type)
            return
        assert sa.auth_request is not None
        names = tuple(child.name for child in sa.auth_request.wanted(connection))
        core.emit(Redirected(sa.id, connection.name, gateway, sa.remote.address, False, names))
        core.down(sa, DownCause.REDIRECTED, f"redirected to {gateway}")

    def _accept(
        self,
        core: Core,
        sa: IkeSa,
        data: bytes,
        contents: Contents,
        header: Header,
        local: Endpoint,
        remote: Endpoint,
    ) -> None:
        connection, private = sa.connection, self._private
        assert connection is not None
        assert private is not None
        if header.spi_r == NO_SPI:
            raise RemoteError("responder's SPI is zero")
        suite = accepted(need(contents.sa, "SA").proposals, self.proposals)
        theirs = need(contents.ke, "KE")
        if theirs.method != private.method or suite.ke != private.method:
            raise RemoteError(f"key exchange method {theirs.method} was not sent")
        intermediate = contents.has(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED)
        if suite.additional_ke and not intermediate:
            raise RemoteError("additional key exchanges without IKE_INTERMEDIATE")
        nonce_r = need(contents.nonce, "Nonce").data
        shared = private.shared(theirs.data)
        keys = initial_keys(suite, shared, sa.nonce_i, nonce_r, sa.spi_i, header.spi_r)
        # From here on nothing fails: before, nothing was changed.
        sa.suite, sa.nonce_r, sa.spi_r = suite, nonce_r, header.spi_r
        use_keys(sa, keys)
        sa.features.intermediate = intermediate
        take_answer(core, sa, data, contents, local, remote)
        assert sa.handshake is not None
        sa.handshake.certificate_requests = tuple(
            (request.encoding, request.data) for request in contents.certreqs
        )
        core.timers.cancel((Timer.REFUSAL, sa.id, 0))

    def unanswered(self, core: Core, sa: IkeSa) -> None:
        """Give up."""
        if self.refusal is not None:
            self.refused(core, sa)
        else:
            core.down(sa, DownCause.UNREACHABLE, "no answer to IKE_SA_INIT")

    def refused(self, core: Core, sa: IkeSa) -> None:
        """Nothing better came after a refusal."""
        if self.refusal is not None:
            core.down(sa, DownCause.REFUSED, self.refusal[1], self.refusal[0])


def offer_features(sa: IkeSa, connection: Connection) -> list[Payload]:
    """Return what offers NAT traversal and fragmentation in a first request."""
    found: list[Payload] = []
    if connection.nat_traversal:
        force = connection.force_encapsulation
        found += nat.notifies(sa.spi_i, NO_SPI, sa.local, sa.remote, force)
    if connection.fragmentation:
        found.append(Notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED))
    return found


def take_answer(
    core: Core,
    sa: IkeSa,
    data: bytes,
    contents: Contents,
    local: Endpoint,
    remote: Endpoint,
) -> None:
    """Take an answer that brought the keys: what the responder can do, and where it is."""
    _read_features(sa, contents)
    _switch_port(core, sa, contents, local, remote)
    assert sa.handshake is not None
    sa.handshake.response = data
    core.settle_request(sa, 0)


def _read_features(sa: IkeSa, contents: Contents) -> None:
    """Note what the responder can do."""
    connection, features = sa.connection, sa.features
    assert connection is not None
    features.fragmentation = connection.fragmentation and contents.has(
        NotifyType.IKEV2_FRAGMENTATION_SUPPORTED
    )
    features.hashes = read_hashes(contents)
    features.childless = contents.has(NotifyType.CHILDLESS_IKEV2_SUPPORTED)
    features.ppk = bool(connection.ppks) and contents.has(NotifyType.USE_PPK)


def _switch_port(
    core: Core, sa: IkeSa, contents: Contents, local: Endpoint, remote: Endpoint
) -> None:
    """Go to the port of the NAT if there is one, or may be one some day."""
    connection = sa.connection
    assert connection is not None
    found = nat.detect(contents, sa.spi_i, sa.spi_r, local, remote)
    if not connection.nat_traversal or found is None:
        return
    sa.features.nat_traversal = True
    sa.nat_local, sa.nat_remote = found
    sa.nat_local = sa.nat_local or connection.force_encapsulation
    sa.nat_known = True
    if sa.nat_local or sa.nat_remote or connection.movement is not Movement.NONE:
        # Whoever may move goes there at once, so that no port changes later.
        sa.local = Endpoint(sa.local.address, core.config.nat_port)
        sa.remote = Endpoint(sa.remote.address, core.config.nat_port)


_ADDITIONAL: Final = tuple(range(TransformType.ADDKE1, TransformType.ADDKE7 + 1))


def begin(
    core: Core,
    connection: Connection,
    local: Endpoint,
    remote: Endpoint,
    *,
    redirect: Address | None = None,
) -> IkeSa:
    """Make an IKE SA of ours; its first request is to follow."""
    sa = IkeSa(
        core.new_id(),
        initiator=True,
        mobile=True,
        spi_i=core.new_ike_spi(),
        spi_r=NO_SPI,
        local=local,
        remote=remote,
        created=core.now,
        connection=connection,
        own=connection.local,
        nonce_i=core.random(32),
        heard=core.now,
        redirected_from=redirect,
    )
    core.register(sa)
    return sa


# --- the responder ----------------------------------------------------------------------


def answer_init(core: Core, data: bytes, header: Header, local: Endpoint, remote: Endpoint) -> None:
    """Answer an IKE_SA_INIT request. Keeps nothing of one that is refused.

    Raises ``Ignored`` and ``RemoteError``; the latter is to be answered in clear.
    """
    if repeated(core, data, local, remote):
        return
    contents = sort(parse(data, header).payloads)
    nonce = need(contents.nonce, "Nonce").data
    offered = need(contents.sa, "SA").proposals
    theirs = need(contents.ke, "KE")
    if not admitted(core, data, header, contents, nonce, local, remote):
        return
    gateway = core.config.redirect_to
    if gateway is not None and _takes_redirect(contents):
        core.count("ike_redirected")
        core.transmit_clear(data, NO_SPI, [redirect_notify(gateway, nonce)], local, remote)
        return
    suite = select(offered, core.config.proposals, theirs.method)
    intermediate = contents.has(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED)
    if suite.additional_ke and not intermediate:
        raise RemoteError(
            "additional key exchanges without IKE_INTERMEDIATE", NotifyType.NO_PROPOSAL_CHOSEN
        )
    check_suite(suite)
    private = generate(suite.ke)
    sa = half_open(core, header, suite, nonce, local, remote)
    assert sa.handshake is not None
    sa.handshake.private, sa.handshake.peer_public = private, theirs.data
    answer = [SA((suite.answer(),)), KE(private.method, private.public), Nonce(sa.nonce_r)]
    answer += answer_features(core, sa, contents, local, remote)
    sa.features.intermediate = intermediate
    if intermediate:
        answer.append(Notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED))
    admit(core, sa, header, data, answer)


def _takes_redirect(contents: Contents) -> bool:
    return contents.has(NotifyType.REDIRECT_SUPPORTED) or contents.has(NotifyType.REDIRECTED_FROM)


def answer_features(
    core: Core, sa: IkeSa, contents: Contents, local: Endpoint, remote: Endpoint
) -> list[Payload]:
    """Note what the initiator can do; return what answers it."""
    config, features = core.config, sa.features
    payloads: list[Payload] = []
    found = nat.detect(contents, sa.spi_i, NO_SPI, local, remote)
    if config.nat_traversal and found is not None:
        features.nat_traversal = True
        sa.nat_local, sa.nat_remote = found
        sa.nat_known = True
        payloads += nat.notifies(sa.spi_i, sa.spi_r, local, remote)
    payloads += (CertReq(encoding, data) for encoding, data in config.certificate_requests)
    if config.fragmentation and contents.has(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED):
        features.fragmentation = True
        payloads.append(Notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED))
    features.hashes = read_hashes(contents)
    if features.hashes is not None:
        payloads.append(hashes_notify())
    if config.childless:
        features.childless = True
        payloads.append(Notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED))
    if config.ppk and contents.has(NotifyType.USE_PPK):
        features.ppk = True
        payloads.append(Notify(NotifyType.USE_PPK))
    features.redirect = _takes_redirect(contents)
    payloads += (VendorId(vendor) for vendor in config.vendor_ids)
    return payloads


def complete_keys(core: Core, sa: IkeSa) -> None:
    """Make the keys of a half-open IKE SA, once a first protected message came for it.

    Floods of IKE_SA_INIT so cost no key exchange. Raises ``Ignored`` for a public
    value that must not be used; the IKE SA ends then.
    """
    handshake = sa.handshake
    if sa.keys is not None or handshake is None:
        return
    if handshake.private is None or sa.suite is None:
        raise LocalError(f"{sa} has no key exchange under way")
    try:
        shared = handshake.private.shared(handshake.peer_public)
    except RemoteError as error:
        core.down(sa, DownCause.FAILED, error.reason)
        raise Ignored(error.reason, "ike_bad_public_value") from None
    use_keys(sa, initial_keys(sa.suite, shared, sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r))
    handshake.private = None


def handshake_goes_on(sa: IkeSa) -> IkeEvent:
    """Return what follows IKE_SA_INIT: additional key exchanges or IKE_AUTH."""
    assert sa.suite is not None
    return IkeEvent.EXTRA_KEYS if sa.suite.additional_ke else IkeEvent.INIT_ANSWERED
