# SPDX-License-Identifier: GPL-2.0-only
"""From a datagram to the exchange it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from . import transport
from .auth_answer import AuthAnswer, refuse
from .contents import Contents, sort
from .control import redirected_later, retire
from .core import NON_ESP_MARKER, Core
from .create_child import answer_create_child
from .eap import EapReply
from .effects import DownCause, Endpoint
from .errors import Ignored, LocalError, RemoteError
from .establish import read_auth_lifetime
from .follow_up import answer_follow_up
from .hints import invalid_spi, unprotected
from .ike_sa import IkeSa
from .informational import (
    answer_deletes,
    deletes_ike,
    fatal_notify,
    read_window,
)
from .initial import answer_init, complete_keys
from .intermediate import answer_intermediate
from .message import (
    NO_SPI,
    Header,
    Message,
    open_octets,
    parse,
    parse_header,
    parse_payloads,
    unpack_header,
)
from .movement import answer_addresses, follow
from .numbers import ExchangeType, NotifyType, ProtocolId
from .payloads import Notify, Payload
from .rekey_ike import RekeyIke, answer_rekey_ike, answered
from .request import first_request
from .resumption import answer_resume, ticket_notify
from .states import ACCEPTED, IkeEvent, IkeState
from .window import Verdict

#: A NAT keepalive (RFC 3948 section 2.3).
KEEPALIVE: Final = b"\xff"
_FIRST: Final = frozenset({ExchangeType.IKE_SA_INIT, ExchangeType.IKE_SESSION_RESUME})
_BEFORE: Final = frozenset({IkeState.HALF_OPEN, IkeState.INTERMEDIATE, IkeState.AUTHENTICATING})


def datagram(core: Core, data: bytes, local: Endpoint, remote: Endpoint) -> None:
    """Handle a datagram. Raises ``Ignored`` and ``RemoteError``: nothing is to be said."""
    if data == KEEPALIVE:
        return
    if local.port == core.config.nat_port:
        if data[:4] != NON_ESP_MARKER:
            raise Ignored("no IKE message", "ike_no_marker")
        data = data[4:]
    try:
        header = parse_header(data)
    except RemoteError as error:
        _complain(core, data, local, remote, error)
        return
    if header.exchange in _FIRST:
        _first(core, data, header, local, remote)
        return
    sa = core.by_spi.get(header.spi_r if header.initiator else header.spi_i)
    if (
        sa is None
        or sa.initiator == header.initiator
        or sa.spi_i != header.spi_i
        or sa.spi_r != header.spi_r
    ):
        core.count("ike_unknown_spi")
        if invalid_spi(core, data, header, remote) or header.spi_i == NO_SPI:
            return
        if not header.response and core.error_rate.take(core.now):
            core.transmit_clear(
                data, header.spi_r, [Notify(NotifyType.INVALID_IKE_SPI)], local, remote
            )
        return
    try:
        message = parse(data, header)
    except RemoteError as error:
        raise Ignored(error.reason) from None
    if message.encrypted is None:
        unprotected(core, sa, message)
    elif header.response:
        _response(core, sa, message, local, remote)
    else:
        _request(core, sa, message, local, remote)


def _complain(
    core: Core, data: bytes, local: Endpoint, remote: Endpoint, error: RemoteError
) -> None:
    """Answer an unprotected request with an error, but not to everybody all the time."""
    if not core.error_rate.take(core.now):
        raise Ignored("too many errors to answer", "ike_error_rate")
    core.count("ike_refused")
    core.note("info", f"{remote}: {error.reason}")
    spi_r = unpack_header(data).spi_r
    core.transmit_clear(data, spi_r, [Notify(error.notify, error.data)], local, remote)


def _first(core: Core, data: bytes, header: Header, local: Endpoint, remote: Endpoint) -> None:
    """Handle what begins an IKE SA, or answers that."""
    if header.response:
        sa = core.by_spi.get(header.spi_i)
        request = first_request(sa) if sa else None
        if sa is None or request is None or header.initiator or header.message_id:
            raise Ignored("answer to nothing", "ike_stale")
        if header.exchange != request.TYPE:
            raise Ignored("answer to another exchange", "ike_stale")
        request.received(core, sa, data, header, local, remote)
        return
    if not header.initiator or header.spi_r != NO_SPI or header.message_id:
        raise Ignored("a first request that is none")
    try:
        if header.exchange == ExchangeType.IKE_SA_INIT:
            answer_init(core, data, header, local, remote)
        else:
            answer_resume(core, data, header, local, remote)
    except RemoteError as error:
        _complain(core, data, local, remote, error)


# --- answers ------------------------------------------------------------------------------


def _response(core: Core, sa: IkeSa, message: Message, local: Endpoint, remote: Endpoint) -> None:
    header = message.header
    item = sa.requests.outstanding.get(header.message_id)
    if item is None or header.exchange != item.exchange.TYPE:
        raise Ignored("answer to nothing", "ike_stale")
    exchange = item.exchange
    try:
        opened = transport.opened(sa, message, core.now)
        if opened is None:
            return
        _answered(core, sa, header)
        if sa.handshake is not None:
            sa.handshake.plain = header, *opened
        follow(core, sa, local, remote, newest=True, response=True)
        contents = sort(parse_payloads(*opened))
        read_window(sa, contents)
        if sa.up and contents.has(NotifyType.INVALID_SYNTAX):
            core.down(sa, DownCause.FAILED, "the other side says INVALID_SYNTAX")
            return
        exchange.answered(core, sa, contents)
    except RemoteError as error:
        _answered(core, sa, header)
        exchange.failed(core, sa, error)
    if sa.state is not IkeState.GONE:
        core.pump(sa)
        retire(core, sa)


def _answered(core: Core, sa: IkeSa, header: Header) -> None:
    core.settle_request(sa, header.message_id)
    sa.heard = core.now


# --- requests -----------------------------------------------------------------------------


def _request(core: Core, sa: IkeSa, message: Message, local: Endpoint, remote: Endpoint) -> None:
    header = message.header
    verdict = sa.answers.judge(header.message_id)
    if verdict is Verdict.OUTSIDE:
        raise Ignored("message id out of the window", "ike_message_id")
    if verdict is Verdict.RUNNING:
        raise Ignored("request is being worked on", "ike_repeated")
    if verdict is Verdict.REPEATED:
        _repeated(core, sa, message, local, remote)
        return
    if sa.state is IkeState.REFUSED:
        raise Ignored("it was refused", "ike_early")
    if sa.state in _BEFORE:
        if header.exchange not in ACCEPTED[sa.state]:
            raise Ignored("not before authentication", "ike_early")
        complete_keys(core, sa)
    opened: tuple[int, bytes] | None = None
    try:
        opened = transport.opened(sa, message, core.now)
        if opened is None:
            return
        contents = sort(parse_payloads(*opened))
    except RemoteError as error:
        # It is authentic all the same.
        sa.answers.begin(header.message_id)
        _refuse(core, sa, header, error)
        return
    newest = sa.answers.begin(header.message_id)
    sa.heard = core.now
    follow(core, sa, local, remote, newest, response=False)
    if sa.handshake is not None:
        sa.handshake.plain = header, *opened
    try:
        _dispatch(core, sa, header, contents, local, remote, newest)
    except RemoteError as error:
        _refuse(core, sa, header, error)
    except LocalError as error:
        core.note("error", f"{sa}: {error.reason}")
        before = sa.state in _BEFORE
        notify = NotifyType.AUTHENTICATION_FAILED if before else NotifyType.TEMPORARY_FAILURE
        _refuse(core, sa, header, RemoteError(error.reason, notify))
    if sa.state is not IkeState.GONE:
        core.pump(sa)


def _repeated(core: Core, sa: IkeSa, message: Message, local: Endpoint, remote: Endpoint) -> None:
    """Answer again, to where the request came from; it moves nothing."""
    encrypted = message.encrypted
    core.count("ike_repeated")
    if encrypted is None or sa.cipher_in is None or encrypted.number > 1:
        # Of a fragmented request only the first fragment asks again (RFC 7383 2.6.1).
        return
    if sa.handshake is None:
        # Before, the keys of a request may not be the keys of the next one any more.
        with suppress(RemoteError):
            open_octets(message, sa.cipher_in)
    core.transmit(sa, sa.answers.kept(message.header.message_id), local, remote)


def _refuse(core: Core, sa: IkeSa, header: Header, error: RemoteError) -> None:
    """Answer a protected request with an error (sections 2.21.2, 2.21.3)."""
    if sa.state in _BEFORE:
        refuse(core, sa, header.exchange, header.message_id, error)
        return
    level = "debug" if error.notify == NotifyType.TEMPORARY_FAILURE else "info"
    core.note(level, f"{sa}: refused: {error.reason}")
    core.count("ike_request_refused")
    notify = Notify(error.notify, error.data)
    core.answer(sa, header.exchange, header.message_id, [notify])
    if error.notify == NotifyType.INVALID_SYNTAX:
        # Fatal at both ends, without a Delete.
        core.down(sa, DownCause.FAILED, f"a request makes no sense: {error.reason}")


def _dispatch(
    core: Core,
    sa: IkeSa,
    header: Header,
    contents: Contents,
    local: Endpoint,
    remote: Endpoint,
    newest: bool,
) -> None:
    """Hand a request to its exchange. Raises ``RemoteError`` to refuse it."""
    exchange, message_id = header.exchange, header.message_id
    if exchange not in ACCEPTED[sa.state]:
        raise RemoteError(f"exchange {exchange} of an IKE SA that is {sa.state.value}")
    payloads: Sequence[Payload] | None
    if exchange == ExchangeType.INFORMATIONAL:
        _informational(core, sa, message_id, contents, local, remote, newest)
        return
    if exchange == ExchangeType.IKE_AUTH:
        _authenticate(core, sa, message_id, contents, local, remote)
        return
    if exchange == ExchangeType.IKE_INTERMEDIATE:
        answer_intermediate(core, sa, message_id, contents)
        return
    new = None
    if exchange == ExchangeType.IKE_FOLLOWUP_KE:
        payloads = answer_follow_up(core, sa, contents)
    elif contents.sa is not None and contents.sa.proposals[0].protocol == ProtocolId.IKE:
        payloads, new = answer_rekey_ike(core, sa, contents)
    else:
        payloads = answer_create_child(core, sa, contents)
    core.answer(sa, exchange, message_id, payloads)
    if new is not None:
        answered(core, sa, new)


def _authenticate(
    core: Core,
    sa: IkeSa,
    message_id: int,
    contents: Contents,
    local: Endpoint,
    remote: Endpoint,
) -> None:
    if sa.auth is None:
        assert sa.suite is not None
        assert sa.handshake is not None
        if sa.handshake.extra < len(sa.suite.additional_ke):
            raise RemoteError("IKE_AUTH before the additional key exchanges")
        sa.change(IkeEvent.AUTH_BEGINS)
        sa.auth = AuthAnswer()
    payloads = sa.auth.receive(core, sa, message_id, contents, local, remote)
    if payloads is not None:
        core.answer(sa, ExchangeType.IKE_AUTH, message_id, payloads, local, remote)
    if sa.up:
        sa.auth = None


def _informational(
    core: Core,
    sa: IkeSa,
    message_id: int,
    contents: Contents,
    local: Endpoint,
    remote: Endpoint,
    newest: bool,
) -> None:
    kind = ExchangeType.INFORMATIONAL
    if deletes_ike(contents):
        core.answer(sa, kind, message_id, [])
        for item in list(sa.requests.outstanding.values()):
            if isinstance(item.exchange, RekeyIke):
                item.exchange.adopt_rival(core, sa)
        cause = DownCause.REPLACED if sa.successor is not None else DownCause.DELETED
        core.down(sa, cause, "deleted by the other side")
        return
    fatal = fatal_notify(contents)
    if fatal:
        core.answer(sa, kind, message_id, [])
        core.down(sa, DownCause.REFUSED, fatal)
        return
    read_window(sa, contents)
    payloads = [
        *answer_addresses(core, sa, contents, local, remote, newest),
        *answer_deletes(core, sa, contents),
    ]
    if contents.has(NotifyType.TICKET_REQUEST):
        payloads.append(ticket_notify(core, sa))
    core.answer(sa, kind, message_id, payloads, local, remote)
    if read_auth_lifetime(core, sa, contents) and sa.initiator:
        core.arm_reauthentication(sa)
    if contents.has(NotifyType.REDIRECT):
        redirected_later(core, sa, contents)


def eap_later(core: Core, ike: int, reply: EapReply) -> None:
    """Go on with IKE_AUTH after the backend had put its reply off."""
    sa = core.sas.get(ike)
    if sa is None or sa.auth is None or sa.auth.waiting is None:
        core.count("ike_eap_stale")
        return
    message_id, local, remote = sa.auth.waiting
    try:
        payloads = sa.auth.later(core, sa, reply)
    except RemoteError as error:
        refuse(core, sa, ExchangeType.IKE_AUTH, message_id, error)
        return
    if payloads is not None:
        core.answer(sa, ExchangeType.IKE_AUTH, message_id, payloads, local, remote)
