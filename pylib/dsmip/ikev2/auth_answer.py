# SPDX-License-Identifier: GPL-2.0-only
"""IKE_AUTH at the responder (RFC 7296 sections 1.2, 2.15, 2.16, 2.21.2)."""

from __future__ import annotations

from . import configuration, movement, proof
from .authentication import Authenticated, Psk, Verifier
from .child_sa import Child, install
from .child_sa import answer as answer_child
from .config import Assignment, Connection
from .contents import Contents, need
from .core import Core, Timer
from .eap import EapClient, EapFailure, EapPeer, EapReply, EapServerBackend, EapSuccess
from .effects import AskEap, Assigned, DownCause, Endpoint, Note
from .errors import RemoteError
from .establish import set_expiry
from .identity import Identity
from .ike_sa import IkeSa
from .keys import with_ppk
from .numbers import ConfigType, NotifyType
from .payloads import Auth, Cert, Eap, IdR, Notify, Payload
from .proposals import select
from .redirect import redirect_notify
from .resumption import ticket_notify
from .states import ChildState, IkeEvent
from .ticket import Ticket

#: IKE SAs of one identity below one connection; the oldest make room.
SAME_PEER_MAX = 4


def _unauthentic(reason: str) -> RemoteError:
    return RemoteError(reason, NotifyType.AUTHENTICATION_FAILED)


class AuthAnswer:
    """The IKE_AUTH of one initiator, of as many exchanges as EAP takes.

    ``waiting`` is the message id of a request that a backend works on, with where
    it came from.
    """

    __slots__ = ("_authenticated", "_backend", "_by_eap", "_first", "_told", "waiting")

    def __init__(self) -> None:
        self._first: Contents | None = None
        self._backend: EapServerBackend | None = None
        self._by_eap: EapSuccess | None = None
        self._authenticated: Authenticated | None = None
        self._told: list[Payload] = []
        self.waiting: tuple[int, Endpoint, Endpoint] | None = None

    def receive(
        self,
        core: Core,
        sa: IkeSa,
        message_id: int,
        contents: Contents,
        local: Endpoint,
        remote: Endpoint,
    ) -> list[Payload] | None:
        """Take a request; return its answer, None when it comes later.

        Raises ``RemoteError`` to refuse the initiator.
        """
        if self.waiting is not None:
            raise RemoteError("IKE_AUTH while the one before is not answered")
        self.waiting = message_id, local, remote
        if self._first is None:
            answer = self._begin(core, sa, contents, local, remote)
        elif self._by_eap is None:
            if self._backend is None:
                raise RemoteError("IKE_AUTH after its end")
            octets = need(contents.eap, "EAP").data
            answer = self._eap_reply(core, sa, self._backend.answer(sa.id, octets), octets)
        else:
            answer = self._finish(core, sa, contents)
        if answer is not None:
            self.waiting = None
        return answer

    def dropped(self, core: Core, sa: IkeSa) -> None:
        """The IKE SA is gone."""
        if self._backend is not None:
            self._backend.forget(sa.id)

    # --- who it is ------------------------------------------------------------------

    def _begin(
        self, core: Core, sa: IkeSa, contents: Contents, local: Endpoint, remote: Endpoint
    ) -> list[Payload] | None:
        claimed = need(contents.idi, "IDi").identity
        wanted = contents.idr.identity if contents.idr else None
        peer = claimed
        if sa.resumed is not None:
            if claimed != sa.resumed.idi:
                raise _unauthentic(f"{claimed} has the ticket of {sa.resumed.idi}")
            wanted, peer = sa.resumed.idr, sa.resumed.peer
        connection = core.directory.find(wanted, peer)
        if connection is None:
            raise _unauthentic(f"nobody is known as {peer}")
        self._first = contents
        sa.connection, sa.own, sa.peer = connection, connection.local, peer
        sa.claimed = claimed
        core.name(sa)
        # From the first IKE_AUTH on the ports are those of the NAT, if there is one.
        sa.local, sa.remote = local, remote
        if sa.resumed is not None or connection.proposals != core.config.proposals:
            _check_suite(sa, connection)
        if movement.nats_prohibited(contents, local, remote):
            raise RemoteError("a NAT on the path", NotifyType.UNEXPECTED_NAT_DETECTED)
        if sa.resumed is not None:
            return self._resume(core, sa, connection, contents, sa.resumed)
        without_ppk = self._mix_ppk(sa, connection, contents)
        if contents.auth is None:
            return self._begin_eap(core, sa, connection, claimed)
        auth = contents.auth
        if without_ppk is not None:
            auth = Auth(auth.method, without_ppk.data)
        self._authenticated = proof.verify(
            sa, connection.peer, contents, claimed, core.wall_clock(), auth
        )
        return [*self._proof(sa, connection), *self._authentic(core, sa, connection)]

    def _resume(
        self, core: Core, sa: IkeSa, connection: Connection, contents: Contents, ticket: Ticket
    ) -> list[Payload]:
        """Let the holder of a ticket in; it replaces the IKE SA that got it (RFC 5723)."""
        assert sa.claimed is not None
        if connection.ppk_required and not ticket.ppk:
            raise _unauthentic("the ticket is of an IKE SA without post-quantum key")
        proof.verify(sa, (), contents, sa.claimed, core.wall_clock())
        core.tickets.open(ticket.opaque, core.now)
        core.tickets.used(ticket.opaque, ticket.until, core.now)
        if ticket.credential_until:
            core.timers.set((Timer.EXPIRY, sa.id, 0), ticket.credential_until)
        old = core.sas.get(ticket.ike)
        if old is not None and old is not sa and old.announced and old.peer == sa.peer:
            core.down(old, DownCause.REPLACED, "resumed by the other side")
        return [*self._proof(sa, connection), *self._authentic(core, sa, connection)]

    def _mix_ppk(self, sa: IkeSa, connection: Connection, contents: Contents) -> Notify | None:
        """Mix in the post-quantum key; return NO_PPK_AUTH when it must do without.

        RFC 8784 section 3. Raises ``RemoteError`` when it may not.
        """
        named = contents.notify(NotifyType.PPK_IDENTITY)
        if sa.features.ppk and named is not None:
            ppk = proof.find_ppk(connection, named)
            if ppk is not None:
                assert sa.keys is not None
                sa.keys = with_ppk(sa.keys, ppk.secret)
                sa.ppk_used = True
                self._told.append(Notify(NotifyType.PPK_IDENTITY))
                return None
        if connection.ppk_required:
            raise _unauthentic("the initiator has no post-quantum key that is known here")
        if named is None:
            return None
        without = contents.notify(NotifyType.NO_PPK_AUTH)
        if without is None and contents.auth is not None:
            raise _unauthentic("the initiator insists on a post-quantum key not known here")
        return without

    def _proof(self, sa: IkeSa, connection: Connection) -> list[Payload]:
        """Return the payloads that say and prove who we are."""
        own = connection.own
        found: list[Payload] = [IdR(connection.local)]
        if sa.resumed is None:
            if isinstance(own, EapClient):
                raise _unauthentic("a responder cannot authenticate itself by EAP")
            found += (Cert(encoding, data) for encoding, data in own.certificates())
        found.append(proof.sign(sa, own, connection.local))
        found += self._told
        self._told = []
        return found

    # --- EAP ------------------------------------------------------------------------

    def _begin_eap(
        self, core: Core, sa: IkeSa, connection: Connection, claimed: Identity
    ) -> list[Payload] | None:
        backend = _eap_backend(connection)
        if backend is None:
            raise _unauthentic(f"{claimed} wants EAP, which is not accepted")
        assert self._first is not None
        if connection.eap_only and self._first.has(NotifyType.EAP_ONLY_AUTHENTICATION):
            self._told[:0] = [IdR(connection.local)]
        else:
            self._told[:0] = self._proof(sa, connection)
        self._backend = backend
        peer = EapPeer(str(claimed), str(sa.remote), str(sa.local))
        return self._eap_reply(core, sa, backend.begin(sa.id, peer, core.wall_clock()), b"")

    def _eap_reply(
        self, core: Core, sa: IkeSa, reply: EapReply | None, octets: bytes
    ) -> list[Payload] | None:
        connection = sa.connection
        assert connection is not None
        assert sa.peer is not None
        if reply is None:
            core.emit(AskEap(sa.id, connection.name, sa.peer, octets))
            return None
        found, self._told = self._told, []
        if reply.octets:
            found.append(Eap(reply.octets))
        if isinstance(reply.result, EapSuccess):
            self._by_eap = reply.result
        elif isinstance(reply.result, EapFailure):
            raise EapRefused(reply.result.reason, found)
        return found

    def later(self, core: Core, sa: IkeSa, reply: EapReply) -> list[Payload] | None:
        """Take the reply that the backend had put off. Raises ``RemoteError``."""
        self.waiting = None
        return self._eap_reply(core, sa, reply, b"")

    def _finish(self, core: Core, sa: IkeSa, contents: Contents) -> list[Payload]:
        """Check the AUTH payload that closes EAP; both sides make it with the MSK."""
        connection, by_eap = sa.connection, self._by_eap
        assert connection is not None
        assert by_eap is not None
        assert sa.peer is not None
        msk = Psk(by_eap.msk)
        self._authenticated = proof.verify(sa, (msk,), contents, sa.peer, core.wall_clock())
        answer: list[Payload] = [proof.sign(sa, msk, connection.local)]
        proved = self._proved(core, sa, connection, by_eap)
        return [*answer, *self._authentic(core, sa, proved)]

    def _proved(
        self, core: Core, sa: IkeSa, connection: Connection, by_eap: EapSuccess
    ) -> Connection:
        """Go by the identity that EAP proved: it need not be what IDi claimed."""
        assert sa.peer is not None
        if by_eap.identity == str(sa.peer):
            return connection
        try:
            identity = Identity.parse(by_eap.identity)
        except ValueError:
            raise _unauthentic(f"EAP proved '{by_eap.identity}', which is no identity") from None
        if identity.matches(sa.peer):
            return connection
        proved = core.directory.find(connection.local, identity)
        if proved is None or _eap_backend(proved) is None:
            raise _unauthentic(f"EAP proved {identity}, who may not come in")
        core.unname(sa)
        sa.connection, sa.peer = proved, identity
        core.name(sa)
        return proved

    # --- the rest -------------------------------------------------------------------

    def _authentic(self, core: Core, sa: IkeSa, connection: Connection) -> list[Payload]:
        """Both sides are who they say: bring the IKE SA up; return what follows AUTH."""
        contents = self._first
        assert contents is not None
        movement.read_mobike(sa, contents)
        set_expiry(core, sa, self._authenticated)
        _replace_others(core, sa, connection, contents)
        core.bring_up(sa)
        found: list[Payload] = []
        if sa.features.mobike:
            found += movement.mobike_notifies(sa)
        if connection.timings.reauthenticate and connection.timings.reauthenticate < 2**32:
            lifetime = int(connection.timings.reauthenticate)
            found.append(Notify(NotifyType.AUTH_LIFETIME, lifetime.to_bytes(4)))
        if connection.redirect_to is not None and sa.features.redirect:
            core.linger(sa)
            return [*found, redirect_notify(connection.redirect_to)]
        if contents.has(NotifyType.TICKET_REQUEST):
            found.append(ticket_notify(core, sa))
        sa.answers.size = 1
        if connection.window > 1:
            sa.answers.size = connection.window
            found.append(Notify(NotifyType.SET_WINDOW_SIZE, connection.window.to_bytes(4)))
        try:
            found += self._assign(core, sa, connection, contents)
        except RemoteError as error:
            core.emit(Note("warning", f"{sa}: no address for {sa.peer}: {error.reason}"))
            return [*found, Notify(error.notify, error.data)]
        if contents.sa is not None:
            found += self._child(core, sa, contents)
        return found

    def _assign(
        self, core: Core, sa: IkeSa, connection: Connection, contents: Contents
    ) -> list[Payload]:
        """Let the directory give addresses. Raises ``RemoteError`` when it has none."""
        assert sa.peer is not None
        if contents.cp is None or contents.cp.kind != ConfigType.REQUEST:
            return []
        request = configuration.read_request(contents.cp)
        assignment: Assignment | None = core.directory.assign(connection, sa.peer, request)
        if assignment is None:
            return []
        sa.assignment = assignment
        sa.resolve_children()
        core.emit(Assigned(sa.id, connection.name, sa.peer, assignment, False))
        found: list[Payload] = [configuration.reply_payload(assignment)]
        if assignment.use_assigned:
            found.append(configuration.use_assigned(assignment))
        return found

    def _child(self, core: Core, sa: IkeSa, contents: Contents) -> list[Payload]:
        """Make the child that IKE_AUTH asks for; a refusal leaves the IKE SA up."""
        try:
            agreed, payloads = answer_child(core, sa, contents, sa.resolved, initial=True)
        except RemoteError as error:
            core.count("ike_child_refused")
            core.emit(Note("warning", f"{sa}: no child for {sa.peer}: {error.reason}"))
            return [Notify(error.notify, error.data)]
        twin = _twin(core, sa, agreed.config.name)
        # The initiator authenticates anew: nothing may be lost until it has our answer.
        child = install(core, sa, agreed, outbound=twin is None)
        if twin is not None:
            twin.successor = child
        return payloads


class EapRefused(RemoteError):
    """EAP ended in failure; ``payloads`` say so, instead of a notification (section 2.21)."""

    def __init__(self, reason: str, payloads: list[Payload]) -> None:
        super().__init__(reason, NotifyType.AUTHENTICATION_FAILED)
        self.payloads = payloads


def _eap_backend(connection: Connection) -> EapServerBackend | None:
    for credential in connection.peer:
        if not isinstance(credential, Psk | Verifier):
            return credential
    return None


def _check_suite(sa: IkeSa, connection: Connection) -> None:
    """Raise ``RemoteError`` unless the connection allows what IKE_SA_INIT chose."""
    assert sa.suite is not None
    try:
        select((sa.suite.answer(),), connection.proposals, sa.suite.ke)
    except RemoteError:
        raise _unauthentic(f"{sa.suite} is not allowed for {connection.name}") from None


def _same_peer(core: Core, sa: IkeSa, connection: Connection) -> list[IkeSa]:
    return [
        other
        for other in core.of_connection(connection.name)
        if other is not sa and other.announced and other.peer == sa.peer
    ]


def _replace_others(core: Core, sa: IkeSa, connection: Connection, contents: Contents) -> None:
    """End the older IKE SAs of a peer that says it knows nothing of them."""
    others = _same_peer(core, sa, connection)
    if connection.unique and contents.has(NotifyType.INITIAL_CONTACT):
        for other in others:
            core.down(other, DownCause.REPLACED, "the other side starts anew")
    else:
        for other in others[SAME_PEER_MAX - 1 :]:
            core.close(other, "too many of one peer", DownCause.REPLACED)


def _twin(core: Core, sa: IkeSa, name: str) -> Child | None:
    """Return the same child of the peer in another IKE SA that is alive."""
    assert sa.connection is not None
    for other in _same_peer(core, sa, sa.connection):
        for child in other.children.values():
            if child.sa.name == name and child.state is ChildState.INSTALLED and child.outbound:
                return child
    return None


def refuse(core: Core, sa: IkeSa, exchange: int, message_id: int, error: RemoteError) -> None:
    """Refuse an initiator; the IKE SA stays for a while, only to repeat this answer."""
    core.count("ike_bad_auth")
    core.note("warning", f"{sa} of {sa.peer} at {sa.remote}: {error.reason}")
    payloads: list[Payload] = [Notify(error.notify, error.data)]
    if isinstance(error, EapRefused):
        payloads = error.payloads or payloads
    core.answer(sa, exchange, message_id, payloads)
    if sa.up:
        core.down(sa, DownCause.FAILED, error.reason)
    else:
        sa.change(IkeEvent.REFUSE)
