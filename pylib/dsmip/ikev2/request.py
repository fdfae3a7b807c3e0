# SPDX-License-Identifier: GPL-2.0-only
"""What all requests of ours have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from .contents import Contents
from .effects import DownCause
from .errors import LocalError, RemoteError
from .message import INITIATOR, NO_SPI, Header, build
from .numbers import ExchangeType, NotifyType
from .payloads import Notify, Payload

if TYPE_CHECKING:
    from .core import Core
    from .effects import Endpoint
    from .ike_sa import IkeSa


class Request:
    """One exchange that we begin: waits in the queue of an IKE SA, goes out, is answered.

    ``ALONE``: nothing else of ours may be under way at the same time, however
    wide the window is. ``ABOUT_CHILD``: it creates, rekeys or closes a child, so
    the IKE SA is not rekeyed meanwhile (RFC 7296 section 2.25.1). ``LAST``: it is
    the one that may still begin in an IKE SA which was replaced. ``TRIES`` counts
    sends in all, 0 for those of the connection.
    """

    __slots__ = ()

    TYPE: ClassVar[ExchangeType]
    ALONE: ClassVar[bool] = False
    ABOUT_CHILD: ClassVar[bool] = False
    LAST: ClassVar[bool] = False
    TRIES: ClassVar[int] = 0

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """Return the payloads to send, None when there is nothing to ask any more."""
        raise LocalError(f"{type(self).__name__} does not say what it asks")

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """Take the answer. A ``RemoteError`` raised here goes to :meth:`failed`."""

    def failed(self, core: Core, sa: IkeSa, error: RemoteError) -> None:
        """Take it that the answer makes no sense.

        No state of the two ends agrees any more then (RFC 7296 section 2.21.3), so
        the IKE SA is closed, unless an exchange knows better.
        """
        core.close(sa, f"its answer makes no sense: {error.reason}")

    def unanswered(self, core: Core, sa: IkeSa) -> None:
        """Take it that all retransmissions went unanswered."""
        core.down(sa, DownCause.UNREACHABLE, "no answer")

    def dropped(self, core: Core, sa: IkeSa) -> None:
        """Take it that the IKE SA ended before there was an answer."""


class FirstRequest(Request):
    """What an IKE SA begins with: IKE_SA_INIT or IKE_SESSION_RESUME, in clear."""

    __slots__ = ()

    ALONE = True

    def start(self, core: Core, sa: IkeSa) -> None:
        """Send it, for the first time or changed."""
        raise LocalError(f"{type(self).__name__} does not begin")

    def send(self, core: Core, sa: IkeSa, payloads: Sequence[Payload], cookie: bytes) -> None:
        """Send these payloads; a cookie that was asked for comes first."""
        assert sa.handshake is not None
        first = [Notify(NotifyType.COOKIE, cookie)] if cookie else []
        header = Header(sa.spi_i, NO_SPI, self.TYPE, INITIATOR, 0)
        sa.handshake.request = build(header, [*first, *payloads])
        core.settle_request(sa, 0)
        sa.requests.next_id = 0
        core.send_request(sa, self, (sa.handshake.request,))

    def received(
        self, core: Core, sa: IkeSa, data: bytes, header: Header, local: Endpoint, remote: Endpoint
    ) -> None:
        """Take an answer, which anybody may have sent. Raises ``Ignored``."""

    def refused(self, core: Core, sa: IkeSa) -> None:
        """Take it that nothing better came after a refusal."""


def first_request(sa: IkeSa) -> FirstRequest | None:
    """Return the first request of an IKE SA of ours, while it is under way."""
    item = sa.requests.outstanding.get(0)
    if item is not None and isinstance(item.exchange, FirstRequest):
        return item.exchange
    return None
