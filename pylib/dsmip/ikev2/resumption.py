# SPDX-License-Identifier: GPL-2.0-only
"""Session resumption: IKE_SESSION_RESUME, both ends, and asking for tickets (RFC 5723)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .contents import Contents, need, sort
from .core import Core, Timer
from .effects import Endpoint
from .errors import Ignored, RemoteError
from .half_open import admit, admitted, half_open, repeated
from .ike_sa import IkeSa
from .informational import Informational
from .initial import InitRequest, answer_features, offer_features, take_answer, use_keys
from .keys import resumed
from .message import NO_SPI, Header, parse
from .numbers import ExchangeType, NotifyType
from .payloads import Nonce, Notify, Payload
from .request import FirstRequest
from .states import IkeEvent
from .ticket import KEPT_MOST, Ticket

#: Tries of IKE_SESSION_RESUME before the whole handshake is made instead.
TRIES: Final = 4
_COOKIES: Final = 4


# --- tickets -----------------------------------------------------------------------------


def _state(core: Core, sa: IkeSa, until: float, opaque: bytes = b"") -> Ticket:
    assert sa.own is not None
    assert sa.peer is not None
    assert sa.suite is not None
    assert sa.keys is not None
    ends = sa.own, sa.claimed or sa.peer
    idi, idr = ends if sa.mobile else ends[::-1]
    expiry = core.timers.at((Timer.EXPIRY, sa.id, 0)) or 0.0
    return Ticket(
        until, sa.id, sa.ppk_used, expiry, idi, idr, sa.peer, sa.suite, sa.keys.sk_d, opaque
    )


def ticket_notify(core: Core, sa: IkeSa) -> Notify:
    """Return the ticket that was asked for, or that there is none (section 4.1)."""
    lifetime = core.config.ticket_lifetime
    if not lifetime or sa.mobile:
        return Notify(NotifyType.TICKET_NACK)
    expiry = core.timers.at((Timer.EXPIRY, sa.id, 0))
    until = core.now + lifetime
    for end in (expiry, sa.reauthenticate_at):
        until = min(until, end) if end is not None else until
    sa.ticket = core.tickets.seal(_state(core, sa, until))
    lifetime = int(until - core.now)
    return Notify(NotifyType.TICKET_LT_OPAQUE, lifetime.to_bytes(4) + sa.ticket)


def read_ticket(core: Core, sa: IkeSa, contents: Contents) -> None:
    """Keep the ticket that came, with what it stands for (section 4.2)."""
    notify = contents.notify(NotifyType.TICKET_LT_OPAQUE)
    if sa.connection is None or not sa.connection.resumption or notify is None:
        return
    if len(notify.data) > 4:
        until = core.now + min(int.from_bytes(notify.data[:4]), KEPT_MOST)
        core.tickets.keep(sa.connection.name, _state(core, sa, until, notify.data[4:]))


class TicketRequest(Informational):
    """Our request for a ticket after a rekey, which ended the one before (section 6.2)."""

    __slots__ = ()

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload]:
        """See ``Request``."""
        return [Notify(NotifyType.TICKET_REQUEST)]

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        read_ticket(core, sa, contents)


# --- the initiator -------------------------------------------------------------------------


class ResumeRequest(FirstRequest):
    """Our IKE_SESSION_RESUME; the whole handshake follows where it leads to nothing."""

    __slots__ = ("_cookie", "_cookies", "_full", "_ticket")

    TYPE = ExchangeType.IKE_SESSION_RESUME
    TRIES = TRIES

    def __init__(self, ticket: Ticket, full: InitRequest) -> None:
        self._ticket = ticket
        self._full = full
        self._cookie = b""
        self._cookies = 0

    def start(self, core: Core, sa: IkeSa) -> None:
        """Send the request, for the first time or changed."""
        assert sa.connection is not None
        ticket = Notify(NotifyType.TICKET_OPAQUE, self._ticket.opaque)
        payloads = [Nonce(sa.nonce_i), ticket, *offer_features(sa, sa.connection)]
        self.send(core, sa, payloads, self._cookie)

    def received(
        self, core: Core, sa: IkeSa, data: bytes, header: Header, local: Endpoint, remote: Endpoint
    ) -> None:
        """Take an answer, which anybody may have sent."""
        try:
            contents = sort(parse(data, header).payloads)
            cookie = contents.notify(NotifyType.COOKIE)
            if cookie is not None and self._cookies < _COOKIES:
                self._cookie = cookie.data
                self._cookies += 1
                self.start(core, sa)
                return
            if contents.error is not None or contents.has(NotifyType.TICKET_NACK):
                self._give_up(core, sa)
                return
            nonce = need(contents.nonce, "Nonce").data
            if header.spi_r == NO_SPI:
                raise RemoteError("responder's SPI is zero")
        except RemoteError as error:
            raise Ignored(f"resumption: {error.reason}", "ike_bad_answer") from None
        ticket = self._ticket
        sa.suite, sa.nonce_r, sa.spi_r = ticket.suite, nonce, header.spi_r
        sa.resumed = ticket
        sa.ppk_used = ticket.ppk
        use_keys(sa, resumed(ticket.suite, ticket.sk_d, sa.nonce_i, nonce, sa.spi_i, sa.spi_r))
        take_answer(core, sa, data, contents, local, remote)
        sa.change(IkeEvent.INIT_ANSWERED)
        assert sa.auth_request is not None
        core.queue(sa, sa.auth_request)

    def _give_up(self, core: Core, sa: IkeSa) -> None:
        core.count("ike_resumption_failed")
        self._full.start(core, sa)

    def unanswered(self, core: Core, sa: IkeSa) -> None:
        """See ``Request``."""
        self._give_up(core, sa)


def resume(core: Core, sa: IkeSa, full: InitRequest) -> bool:
    """Begin ``sa`` with the ticket of its connection; False when there is none."""
    connection = sa.connection
    assert connection is not None
    ticket = core.tickets.take(connection.name, core.now) if connection.resumption else None
    if ticket is None or ticket.idi != connection.local:
        return False
    if connection.remote is not None and not connection.remote.matches(ticket.idr):
        return False
    if connection.ppk_required and not ticket.ppk:
        return False
    ResumeRequest(ticket, full).start(core, sa)
    return True


# --- the responder ---------------------------------------------------------------------------


def answer_resume(
    core: Core, data: bytes, header: Header, local: Endpoint, remote: Endpoint
) -> None:
    """Answer IKE_SESSION_RESUME (section 4.3.2). Raises ``Ignored`` and ``RemoteError``."""
    if repeated(core, data, local, remote):
        return
    contents = sort(parse(data, header).payloads)
    nonce = need(contents.nonce, "Nonce").data
    opaque = need(contents.notify(NotifyType.TICKET_OPAQUE), "TICKET_OPAQUE").data
    if not admitted(core, data, header, contents, nonce, local, remote):
        return
    try:
        ticket = core.tickets.open(opaque, core.now)
    except Ignored as error:
        core.count(error.counter)
        if core.error_rate.take(core.now):
            core.transmit_clear(data, NO_SPI, [Notify(NotifyType.TICKET_NACK)], local, remote)
        return
    sa = half_open(core, header, ticket.suite, nonce, local, remote)
    sa.resumed, sa.ppk_used = ticket, ticket.ppk
    use_keys(sa, resumed(ticket.suite, ticket.sk_d, sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r))
    answer = [Nonce(sa.nonce_r), *answer_features(core, sa, contents, local, remote)]
    admit(core, sa, header, data, answer)
