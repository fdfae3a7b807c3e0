# SPDX-License-Identifier: GPL-2.0-only
"""IKE_INTERMEDIATE with additional key exchanges (RFC 9242, RFC 9370 section 2.2.2)."""

from __future__ import annotations

from collections.abc import Sequence

from .contents import Contents, describe, need
from .core import Core
from .crypto import PrivateKey, generate, respond
from .effects import DownCause
from .errors import RemoteError
from .ike_sa import IkeSa
from .initial import use_keys
from .keys import after_additional, int_auth
from .message import Header, build_payloads, int_auth_octets
from .numbers import ExchangeType
from .payloads import KE, Payload
from .request import Request
from .states import IkeEvent, IkeState
from .transport import header


def _chain(sa: IkeSa, of_initiator: bool, head: Header, first: int, plain: bytes) -> None:
    """Add one message of one side to what AUTH covers."""
    assert sa.handshake is not None
    assert sa.keys is not None
    handshake, keys = sa.handshake, sa.keys
    covered = int_auth_octets(head, first, plain)
    if of_initiator:
        handshake.int_auth_i = int_auth(keys.prf, keys.sk_pi, handshake.int_auth_i, covered)
    else:
        handshake.int_auth_r = int_auth(keys.prf, keys.sk_pr, handshake.int_auth_r, covered)


def _received(sa: IkeSa) -> None:
    assert sa.handshake is not None
    assert sa.handshake.plain is not None
    _chain(sa, not sa.initiator, *sa.handshake.plain)


def _sent(sa: IkeSa, message_id: int, response: bool, payloads: Sequence[Payload]) -> None:
    head = header(sa, ExchangeType.IKE_INTERMEDIATE, message_id, response)
    _chain(sa, sa.initiator, head, *build_payloads(payloads))


def _next_keys(sa: IkeSa, shared: bytes) -> None:
    assert sa.handshake is not None
    assert sa.suite is not None
    assert sa.keys is not None
    use_keys(
        sa,
        after_additional(sa.suite, sa.keys, shared, sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r),
    )
    sa.handshake.extra += 1


def proceed(core: Core, sa: IkeSa, auth: Request) -> None:
    """Go on after IKE_SA_INIT: with the next additional key exchange, or with ``auth``."""
    assert sa.handshake is not None
    assert sa.suite is not None
    methods = sa.suite.additional_ke
    if sa.handshake.extra < len(methods):
        if sa.state is IkeState.INITIATING:
            sa.change(IkeEvent.EXTRA_KEYS)
        core.queue(sa, IntermediateRequest(methods[sa.handshake.extra], auth))
        return
    initiating = sa.state is IkeState.INITIATING
    sa.change(IkeEvent.INIT_ANSWERED if initiating else IkeEvent.AUTH_BEGINS)
    core.queue(sa, auth)


class IntermediateRequest(Request):
    """One additional key exchange of ours; IKE_AUTH follows the last one."""

    __slots__ = ("_auth", "_private")

    TYPE = ExchangeType.IKE_INTERMEDIATE
    ALONE = True

    def __init__(self, method: int, auth: Request) -> None:
        self._private: PrivateKey = generate(method)
        self._auth = auth

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload]:
        """See ``Request``."""
        payloads = [KE(self._private.method, self._private.public)]
        _sent(sa, sa.requests.next_id, False, payloads)
        return payloads

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        if contents.error is not None:
            text = f"the other side says {describe(contents.error.type)}"
            core.down(sa, DownCause.REFUSED, text, contents.error.type)
            return
        theirs = need(contents.ke, "KE")
        if theirs.method != self._private.method:
            raise RemoteError(f"key exchange method {theirs.method} was not sent")
        shared = self._private.shared(theirs.data)
        _received(sa)
        _next_keys(sa, shared)
        proceed(core, sa, self._auth)

    def failed(self, core: Core, sa: IkeSa, error: RemoteError) -> None:
        """See ``Request``."""
        core.down(sa, DownCause.FAILED, error.reason)


def answer_intermediate(core: Core, sa: IkeSa, message_id: int, contents: Contents) -> None:
    """Answer an IKE_INTERMEDIATE request. Raises ``RemoteError``."""
    assert sa.handshake is not None
    assert sa.suite is not None
    methods = sa.suite.additional_ke
    if not sa.features.intermediate:
        raise RemoteError("IKE_INTERMEDIATE that was not agreed on")
    if sa.state is IkeState.HALF_OPEN:
        sa.change(IkeEvent.EXTRA_KEYS)
    if sa.handshake.extra >= len(methods):
        raise RemoteError("IKE_INTERMEDIATE without additional key exchange")
    theirs = need(contents.ke, "KE")
    if theirs.method != methods[sa.handshake.extra]:
        raise RemoteError(f"key exchange method {theirs.method} is not the next one")
    public, shared = respond(theirs.method, theirs.data)
    payloads: list[Payload] = [KE(theirs.method, public)]
    _received(sa)
    _sent(sa, message_id, True, payloads)
    # The answer goes under the old keys, what follows it under the new ones.
    core.answer(sa, ExchangeType.IKE_INTERMEDIATE, message_id, payloads)
    _next_keys(sa, shared)
