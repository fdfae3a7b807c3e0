# SPDX-License-Identifier: GPL-2.0-only
"""IKE_AUTH at the initiator (RFC 7296 sections 1.2, 2.15, 2.16, 2.21.2)."""

from __future__ import annotations

from collections.abc import Sequence

from . import configuration, establish, proof
from .authentication import Authenticated, Psk, Signer
from .child_sa import Offer, Trigger, offer
from .config import ChildConfig, Connection, Movement, Start
from .contents import Contents, describe, need
from .core import Core
from .eap import EapClient, EapClientSession, EapFailure, EapSuccess
from .effects import DownCause, Redirected
from .errors import RemoteError
from .identity import Identity
from .ike_sa import IkeSa
from .keys import IkeKeys, with_ppk
from .movement import after_authentication, mobike_notifies, read_mobike
from .numbers import ExchangeType, NotifyType
from .payloads import Cert, CertReq, Eap, IdI, IdR, Notify, Payload
from .redirect import read_redirect
from .request import Request
from .resumption import read_ticket
from .states import IkeState
from .transport import seal


class AuthRequest(Request):
    """Our IKE_AUTH, of as many exchanges as EAP takes.

    ``children`` names those to make, None for all that start with IKE;
    ``also`` names more of them, ``triggers`` are packets that wait for one.
    """

    __slots__ = (
        "_authenticated",
        "_by_eap",
        "_child",
        "_children",
        "_eap",
        "_next",
        "_peer",
        "_plain_keys",
        "also",
        "triggers",
    )

    TYPE = ExchangeType.IKE_AUTH
    ALONE = True

    def __init__(self, children: tuple[str, ...] | None = None) -> None:
        self._children = children
        self.also: set[str] = set()
        self.triggers: dict[str, Trigger] = {}
        self._child: Offer | None = None
        self._eap: EapClientSession | None = None
        self._by_eap: EapSuccess | None = None
        self._next: list[Payload] | None = None
        self._peer: Identity | None = None
        self._authenticated: Authenticated | None = None
        self._plain_keys: IkeKeys | None = None

    def wanted(self, connection: Connection) -> list[ChildConfig]:
        """Return the children to make, those that packets wait for first."""
        names = self._children
        children = [
            child
            for child in connection.children
            if child.name in self.also
            or (child.start is Start.WITH_IKE if names is None else child.name in names)
        ]
        return sorted(children, key=lambda child: child.name not in self.also)

    # --- what we send -------------------------------------------------------------

    def request(self, core: Core, sa: IkeSa) -> Sequence[Payload] | None:
        """See ``Request``."""
        if self._next is not None:
            return self._next
        connection = sa.connection
        assert connection is not None
        own = connection.own
        payloads: list[Payload] = [IdI(connection.local)]
        if connection.remote is not None:
            payloads.append(IdR(connection.remote))
        resumed = sa.resumed is not None
        if not resumed and not isinstance(own, EapClient):
            payloads += (Cert(encoding, data) for encoding, data in own.certificates())
        if not resumed:
            payloads += _requests(connection)
        if self._first_contact(core, sa):
            payloads.append(Notify(NotifyType.INITIAL_CONTACT))
        plain = self._mix_ppk(sa, connection, payloads)
        if isinstance(own, EapClient) and not resumed:
            self._eap = own.begin(core.wall_clock())
            if connection.eap_only:
                payloads.append(Notify(NotifyType.EAP_ONLY_AUTHENTICATION))
        else:
            payloads += self._auth(sa, own, plain)
        if connection.request is not None:
            payloads.append(configuration.request_payload(connection.request))
        payloads += self._first_child(core, sa, connection)
        if connection.movement is Movement.MOBIKE:
            payloads += mobike_notifies(sa)
        if connection.resumption:
            payloads.append(Notify(NotifyType.TICKET_REQUEST))
        return payloads

    def _first_contact(self, core: Core, sa: IkeSa) -> bool:
        connection = sa.connection
        assert connection is not None
        others = (other for other in core.of_connection(connection.name) if other is not sa)
        return connection.unique and not any(other.announced for other in others)

    def _mix_ppk(
        self, sa: IkeSa, connection: Connection, payloads: list[Payload]
    ) -> IkeKeys | None:
        """Mix in our post-quantum key; return the keys without it where they may do too."""
        if not sa.features.ppk or not connection.ppks or sa.resumed is not None:
            return None
        assert sa.keys is not None
        ppk = connection.ppks[0]
        payloads.append(proof.ppk_identity(ppk))
        plain = sa.keys
        sa.keys = with_ppk(plain, ppk.secret)
        sa.ppk_used = True
        self._plain_keys = None if connection.ppk_required else plain
        return self._plain_keys

    def _auth(
        self, sa: IkeSa, own: Psk | Signer | EapClient, plain: IkeKeys | None
    ) -> list[Payload]:
        connection = sa.connection
        assert connection is not None
        found: list[Payload] = [proof.sign(sa, own, connection.local)]
        if plain is not None:
            without = proof.sign(sa, own, connection.local, plain)
            found.append(Notify(NotifyType.NO_PPK_AUTH, without.data))
        return found

    def _first_child(self, core: Core, sa: IkeSa, connection: Connection) -> list[Payload]:
        if connection.childless and sa.features.childless:
            return []
        wanted = self.wanted(connection)
        if not wanted:
            return []
        trigger = self.triggers.get(wanted[0].name)
        self._child = offer(core, sa, wanted[0], initial=True, trigger=trigger)
        return self._child.payloads()

    # --- what comes back --------------------------------------------------------------

    def answered(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        """See ``Request``."""
        if self._by_eap is not None:
            self._after_eap(core, sa, contents)
        elif self._eap is not None:
            self._eap_step(core, sa, contents, self._eap)
        else:
            if self._check(core, sa, contents):
                self._established(core, sa, contents)

    def _refused(self, core: Core, sa: IkeSa, contents: Contents) -> bool:
        error = contents.error
        if contents.auth is not None or error is None:
            return False
        text = f"the other side says {describe(error.type)}"
        core.down(sa, DownCause.REFUSED, text, error.type)
        return True

    def _check(self, core: Core, sa: IkeSa, contents: Contents) -> bool:
        """Find out that the other side is who it shall be; False when it refuses us.

        Raises ``RemoteError`` when it is somebody else.
        """
        if self._refused(core, sa, contents):
            return False
        connection = sa.connection
        assert connection is not None
        peer = need(contents.idr, "IDr").identity
        expected = sa.resumed.idr if sa.resumed else connection.remote
        if expected is not None and not expected.matches(peer):
            text = f"{peer} answers instead of {expected}"
            raise RemoteError(text, NotifyType.AUTHENTICATION_FAILED)
        self._settle_ppk(sa, connection, contents)
        self._peer = peer
        if self._proves_itself_later(connection, contents, expected):
            return True
        self._authenticated = proof.verify(sa, connection.peer, contents, peer, core.wall_clock())
        return True

    def _proves_itself_later(
        self, connection: Connection, contents: Contents, expected: Identity | None
    ) -> bool:
        """Whether EAP alone shall prove who the other side is (RFC 5998 section 3).

        What EAP leads to closes the exchange: an AUTH payload over its IDr, which must
        be the one that is wanted.
        """
        if self._eap is None or contents.auth is not None or contents.eap is None:
            return False
        return connection.eap_only and expected is not None

    def _settle_ppk(self, sa: IkeSa, connection: Connection, contents: Contents) -> None:
        if sa.resumed is not None:
            return
        if sa.ppk_used and not contents.has(NotifyType.PPK_IDENTITY):
            sa.ppk_used = False
            if self._plain_keys is None:
                text = "the other side does not know our post-quantum key"
                raise RemoteError(text, NotifyType.AUTHENTICATION_FAILED)
            sa.keys = self._plain_keys
        if connection.ppk_required and not sa.ppk_used:
            raise RemoteError(
                "the other side has no post-quantum key", NotifyType.AUTHENTICATION_FAILED
            )

    def _eap_step(
        self, core: Core, sa: IkeSa, contents: Contents, session: EapClientSession
    ) -> None:
        if self._peer is None:
            # The other side proves itself before we tell it anything (section 2.16).
            if not self._check(core, sa, contents):
                return
        elif self._refused(core, sa, contents):
            return
        reply = session.receive(need(contents.eap, "EAP").data)
        if isinstance(reply.result, EapFailure):
            raise RemoteError(reply.result.reason, NotifyType.AUTHENTICATION_FAILED)
        connection = sa.connection
        assert connection is not None
        if isinstance(reply.result, EapSuccess):
            self._by_eap = reply.result
            self._next = self._auth(sa, Psk(reply.result.msk), None)
        else:
            self._next = [Eap(reply.octets)]
        core.queue(sa, self, first=True)

    def _after_eap(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        if self._refused(core, sa, contents):
            return
        assert self._by_eap is not None
        assert self._peer is not None
        msk = Psk(self._by_eap.msk)
        proof.verify(sa, (msk,), contents, self._peer, core.wall_clock())
        self._established(core, sa, contents)

    def _established(self, core: Core, sa: IkeSa, contents: Contents) -> None:
        connection = sa.connection
        assert connection is not None
        sa.peer = self._peer
        read_mobike(sa, contents)
        establish.set_expiry(core, sa, self._authenticated)
        establish.read_auth_lifetime(core, sa, contents)
        core.bring_up(sa)
        if self._redirected(core, sa, contents, connection):
            return
        read_ticket(core, sa, contents)
        establish.take_assignment(core, sa, contents)
        establish.first_child(core, sa, contents, self._child)
        made = self._child.config.name if self._child else None
        names = [c.name for c in self.wanted(connection) if c.name != made]
        establish.more_children(core, sa, names, self.triggers)
        after_authentication(core, sa)

    def _redirected(
        self, core: Core, sa: IkeSa, contents: Contents, connection: Connection
    ) -> bool:
        """Follow a REDIRECT in the last answer (RFC 5685 section 6); True when there is one."""
        notify = contents.notify(NotifyType.REDIRECT)
        if notify is None:
            return False
        gateway, _ = read_redirect(notify)
        if not connection.follow_redirect:
            text = f"{sa}: the other side wants us at {gateway}, which is not allowed"
            core.note("warning", text)
            return False
        if not core.loops.follow(connection.name, core.now):
            core.close(sa, "redirected too often", DownCause.REFUSED, notify.type)
            return True
        names = tuple(child.name for child in self.wanted(connection))
        core.emit(Redirected(sa.id, connection.name, gateway, sa.remote.address, False, names))
        core.close(sa, f"redirected to {gateway}", DownCause.REDIRECTED)
        return True

    def failed(self, core: Core, sa: IkeSa, error: RemoteError) -> None:
        """See ``Request``; the other side is told, since it believes in the IKE SA."""
        if sa.state is IkeState.AUTHENTICATING and sa.requests.room:
            notify = Notify(error.notify, error.data)
            message_id = sa.requests.next_id
            sa.requests.next_id += 1
            core.transmit(sa, seal(sa, ExchangeType.INFORMATIONAL, message_id, [notify]))
        core.count("ike_bad_auth")
        core.note("warning", f"{sa}: {error.reason}")
        core.down(sa, DownCause.FAILED, error.reason)


def _requests(connection: Connection) -> list[Payload]:
    found: dict[tuple[int, bytes], None] = {}
    for credential in connection.peer:
        if hasattr(credential, "requests"):
            found.update(dict.fromkeys(credential.requests()))
    return [CertReq(encoding, data) for encoding, data in found]
