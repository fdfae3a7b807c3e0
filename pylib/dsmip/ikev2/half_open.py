# SPDX-License-Identifier: GPL-2.0-only
"""What answers to IKE_SA_INIT and to IKE_SESSION_RESUME have in common: cookies, bounds."""

from __future__ import annotations

from collections.abc import Sequence

from .admission import Verdict
from .contents import Contents
from .core import Core
from .effects import Endpoint
from .errors import Ignored
from .ike_sa import IkeSa
from .message import NO_SPI, RESPONSE, Header, build
from .numbers import NotifyType
from .payloads import Notify, Payload
from .proposals import Suite
from .states import IkeState


def repeated(core: Core, data: bytes, local: Endpoint, remote: Endpoint) -> bool:
    """Answer a first request as before if it came before; False for a new one."""
    known = core.initial.get(data)
    if known is None or known.handshake is None:
        return False
    core.count("ike_repeated")
    core.transmit(known, (known.handshake.response,), local, remote)
    return True


def admitted(
    core: Core,
    data: bytes,
    header: Header,
    contents: Contents,
    nonce: bytes,
    local: Endpoint,
    remote: Endpoint,
) -> bool:
    """Whether there is room for another IKE SA; False when a COOKIE is asked for first.

    Raises ``Ignored`` when there is none (RFC 7296 section 2.6).
    """
    cookie = contents.notify(NotifyType.COOKIE)
    verdict = core.admission.judge(
        remote.address, header.spi_i, nonce, cookie.data if cookie else None, core.now
    )
    if verdict is Verdict.DROP or len(core.sas) >= core.config.ike_max:
        raise Ignored("too many IKE SAs", "ike_too_many")
    if verdict is Verdict.ASK_COOKIE:
        core.count("ike_cookie_asked")
        wanted = core.admission.cookie(remote.address, header.spi_i, nonce, core.now)
        core.transmit_clear(data, NO_SPI, [Notify(NotifyType.COOKIE, wanted)], local, remote)
        return False
    return True


def half_open(
    core: Core, header: Header, suite: Suite, nonce: bytes, local: Endpoint, remote: Endpoint
) -> IkeSa:
    """Make the IKE SA that a first request asks for; nobody knows of it yet."""
    return IkeSa(
        core.new_id(),
        initiator=False,
        mobile=False,
        spi_i=header.spi_i,
        spi_r=core.new_ike_spi(),
        local=local,
        remote=remote,
        created=core.now,
        state=IkeState.HALF_OPEN,
        suite=suite,
        nonce_i=nonce,
        nonce_r=core.random(32),
        heard=core.now,
    )


def admit(core: Core, sa: IkeSa, header: Header, data: bytes, payloads: Sequence[Payload]) -> None:
    """Take an IKE SA in, and send the answer to the first request ``data``."""
    assert sa.handshake is not None
    sa.handshake.request = data
    sa.handshake.response = build(
        Header(sa.spi_i, sa.spi_r, header.exchange, RESPONSE, 0), payloads
    )
    core.admit(sa)
