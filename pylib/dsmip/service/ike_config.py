# SPDX-License-Identifier: GPL-2.0-only
"""The configuration of keys: who makes them, how both ends prove who they are.

Nothing of ``ikev2`` is imported before something is configured that needs it:
on a small router the engine costs more memory than the rest of the daemon.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_network
from pathlib import Path
from typing import Final

from ..packet.kernel import Address, Network
from . import options as o
from .options import Refused, Section

#: Larger files are no certificates and no keys.
_FILE_MAX: Final = 4 << 20
_SECRET_MAX: Final = 256
#: Options of an entry that say nothing to static keys.
_IKEV2_ONLY: Final = (
    "auth",
    "psk",
    "password",
    "public_key",
    "ppk",
    "ppk_id",
    "eap_only",
    "movement",
)
#: Protocol numbers of proposals (RFC 7296 section 3.3.1).
_IKE, _ESP = 1, 3
#: Prefixes that one router may have by DHCPv6.
DELEGATED_MAX: Final = 8
_REQID_MAX: Final = 0xFFFFFFFF
_SELECTOR: Final = re.compile(r"([0-9a-fA-F.:]+(?:/\d+)?)(?:\[(\d+)(?:/(\d+|0x[0-9a-fA-F]+))?\])?")


class Manager(enum.StrEnum):
    """Who gives and keeps the keys of a router and a home agent."""

    NONE = "none"
    STATIC = "static"
    IKEV2 = "ikev2"
    EXTERNAL = "external"


class Authentication(enum.StrEnum):
    """How the router proves to the home agent who it is.

    With EAP the home agent proves itself by its certificate (RFC 7296 section 2.16).
    """

    PSK = "psk"
    CERTIFICATE = "certificate"
    PUBLIC_KEY = "public-key"
    EAP_MSCHAPV2 = "eap-mschapv2"
    EAP_TLS = "eap-tls"


class Payload(enum.StrEnum):
    """Protection of what the tunnel carries.

    ``INSIDE`` is a tunnel SA between home address and home agent, which no
    movement concerns; ``RFC4877`` one between care-of address and home agent.
    """

    NONE = "none"
    INSIDE = "inside"
    RFC4877 = "rfc4877"


class Movement(enum.StrEnum):
    """How an IKE SA follows movements: with bindings (the K bit), or by RFC 4555."""

    MIGRATE = "migrate"
    MOBIKE = "mobike"


class Start(enum.StrEnum):
    """When a child SA is made: at once, when a packet needs it, when the other asks."""

    START = "start"
    TRAP = "trap"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was when the configuration was read; ``data`` stays out of texts."""

    path: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What two ends know of each other.

    ``psk`` and ``password`` are shared, ``public_key`` is the other side's. The
    own certificate and private key are those of ``IkeSection``. ``ppk`` is a
    post-quantum preshared key and ``ppk_id`` its name (RFC 8784);
    ``ppk_required`` refuses to go on without. ``eap_only``: EAP-TLS proves who both
    ends are, without a signature of the home agent before it (RFC 5998).
    """

    authentication: Authentication = Authentication.PSK
    psk: bytes = field(default=b"", repr=False)
    password: str = field(default="", repr=False)
    public_key: File | None = None
    ppk_id: str = ""
    ppk: bytes = field(default=b"", repr=False)
    ppk_required: bool = False
    eap_only: bool = False


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """Who makes the keys of one router at one home agent, and for what.

    ``identity`` is the router's, ``agent_identity`` the home agent's; "" accepts
    any that authenticates. With ``agent_name`` the home agent may call itself as it
    likes, if its certificate is for this name. ``reqid`` is the first request id of its rows, 0 for
    one that is derived from the identity. ``return_routability`` protects Home
    Test messages in the tunnel, ``prefix_discovery`` Mobile Prefix
    Solicitations (RFC 3776 section 4.1), ``delegation`` DHCPv6 (RFC 6276 section 4).
    ``everything`` protects all between both: the home agent is a correspondent then.
    """

    manager: Manager = Manager.STATIC
    payload: Payload = Payload.NONE
    return_routability: Payload = Payload.NONE
    prefix_discovery: bool = False
    delegation: bool = False
    movement: Movement = Movement.MIGRATE
    identity: str = ""
    agent_identity: str = ""
    credentials: Credentials | None = None
    reqid: int = 0
    agent_name: str = ""
    everything: bool = False

    @property
    def follows(self) -> bool:
        """Whether IKE goes along with a movement: the K bit (RFC 6275 section 6.1.7)."""
        return self.manager in (Manager.IKEV2, Manager.EXTERNAL)


@dataclass(frozen=True, slots=True)
class SelectorText:
    """A traffic selector as written: ``network[protocol/port]``, 0 and None for any."""

    network: Network
    protocol: int = 0
    port: int | None = None


@dataclass(frozen=True, slots=True)
class ChildEntry:
    """A child SA of a connection.

    ``endpoints`` are local and remote address of an SA whose ends are not those
    of IKE (transport mode between home address and home agent), None to follow IKE.
    """

    name: str
    reqid: int
    tunnel: bool = True
    local: tuple[SelectorText, ...] = ()
    remote: tuple[SelectorText, ...] = ()
    endpoints: tuple[Address, Address] | None = None
    esp_proposals: tuple[str, ...] = ()
    start: Start = Start.TRAP


@dataclass(frozen=True, slots=True)
class ConnectionEntry:
    """One other side of ``dsmipd --role ike``; no addresses mean any."""

    name: str
    credentials: Credentials
    local: tuple[Address, ...] = ()
    remote: tuple[Address, ...] = ()
    local_identity: str = ""
    remote_identity: str = ""
    movement: Movement = Movement.MIGRATE
    proposals: tuple[str, ...] = ()
    children: tuple[ChildEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Radius:
    """A RADIUS server to which EAP is handed (RFC 3579)."""

    server: Address
    port: int = 1812
    secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class IkeSection:
    """IKEv2 of this host. Times in seconds; empty proposals are the engine's own.

    ``migrate`` "auto" moves SAs with the kernel's own call where it has one,
    "off" always installs them anew. ``cookie_threshold`` is the number of
    half-open IKE SAs from which on cookies are asked for. ``retransmissions`` is
    how often a request is sent before its other end counts as gone: 8 times is
    about a minute, 12 times five.
    """

    port: int = 500
    nat_port: int = 4500
    proposals: tuple[str, ...] = ()
    esp_proposals: tuple[str, ...] = ()
    certificate: File | None = None
    private_key: File | None = None
    authorities: tuple[File, ...] = ()
    revocation: tuple[File, ...] = ()
    migrate: str = "auto"
    pf_key: bool = False
    cookie_threshold: int = 32
    dpd: float = 30.0
    nat_keepalive: float = 20.0
    retransmissions: int = 8
    rekey_ike: float = 14400.0
    rekey_child: float = 3600.0
    reauthenticate: float = 0.0
    fragment_size: int = 1280
    ticket_lifetime: float = 3600.0
    follow_redirect: bool = True
    redirect_to: str = ""
    radius: Radius | None = None
    connections: tuple[ConnectionEntry, ...] = ()


def fixed_settings(old: IkeSection, new: IkeSection) -> list[str]:
    """Return the options that differ and can only change at a restart."""
    fixed = (
        "port",
        "nat_port",
        "migrate",
        "pf_key",
        "radius",
        "cookie_threshold",
        "nat_keepalive",
        "redirect_to",
        "ticket_lifetime",
    )
    return [name for name in fixed if getattr(old, name) != getattr(new, name)]


# --- readers ---------------------------------------------------------------------


def secret(value: object) -> bytes:
    """Read a secret: text, or octets in hexadecimal after 0x."""
    if isinstance(value, str):
        try:
            found = bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
        except ValueError:
            found = b""
        if 0 < len(found) <= _SECRET_MAX:
            return found
    raise Refused(f"a text, or 0x and hexadecimal, of 1 to {_SECRET_MAX} octets")


def _proposal(value: object, protocol: int, example: str) -> str:
    from ..ikev2.proposals import parse_proposal

    if not isinstance(value, str):
        raise Refused(f'a proposal like "{example}"')
    try:
        parse_proposal(value, protocol)
    except ValueError as error:
        raise Refused(f'a proposal like "{example}" ({error})') from None
    return value


def ike_proposal(value: object) -> str:
    """Read a proposal for IKE in swanctl's words."""
    return _proposal(value, _IKE, "aes128gcm16-prfsha256-x25519")


def esp_proposal(value: object) -> str:
    """Read a proposal for ESP in swanctl's words."""
    return _proposal(value, _ESP, "aes128gcm16-esn")


def identity(value: object) -> str:
    """Read an identity of IKE (RFC 7296 section 3.5)."""
    from ..ikev2.identity import Identity

    text = o.text(value)
    try:
        Identity.parse(text)
    except ValueError as error:
        raise Refused(f"an identity of IKE ({error})") from None
    return text


def gateway(value: object) -> str:
    """Read where initiators are sent: an address, or a name that they look up."""
    if isinstance(value, str) and re.fullmatch(r"[0-9A-Za-z.:_-]{1,253}", value):
        return value
    raise Refused("an address or a DNS name")


def _certificates(data: bytes) -> object:
    from ..ikev2.certificates import load_certificates

    return load_certificates(data)


def _revocations(data: bytes) -> object:
    from ..ikev2.certificates import load_revocations

    return load_revocations(data)


def _private_key(data: bytes) -> object:
    from ..ikev2.signatures import load_private_key

    return load_private_key(data)


def _public_key(data: bytes) -> object:
    from ..ikev2.signatures import load_public_key

    return load_public_key(data)


def file_below(source: str, load: Callable[[bytes], object]) -> Callable[[object], File]:
    """Return a reader of files, whose names are relative to the configuration's folder.

    ``load`` raises ``ValueError`` for contents that cannot be used.
    """
    folder = os.path.dirname(source)

    def read(value: object) -> File:
        if not isinstance(value, str) or not value or "\0" in value:
            raise Refused("the name of a file")
        path = Path(folder, value)
        try:
            if path.stat().st_size > _FILE_MAX:
                raise Refused(f"a file of at most {_FILE_MAX} octets")
            data = path.read_bytes()
        except OSError as error:
            raise Refused(f"a file that can be read ({error.strerror})") from None
        try:
            load(data)
        except ValueError as error:
            raise Refused(f"a file that can be used ({error})") from None
        return File(str(path), data)

    return read


def selector(value: object) -> SelectorText:
    """Read a traffic selector."""
    match = _SELECTOR.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        try:
            network = ip_network(match[1])
            protocol = int(match[2] or 0)
            port = None if match[3] is None else int(match[3], 0)
        except ValueError:
            pass
        else:
            if protocol <= 255 and (port is None or port <= 0xFFFF):
                return SelectorText(network, protocol, port)
    raise Refused('a selector like "2001:db8:1::/64", "2001:db8::1[135]" or "10.0.0.0/8[17/53]"')


# --- sections --------------------------------------------------------------------


def read_ike(section: Section | None, source: str) -> IkeSection:
    """Read ``[ike]``."""
    plain = IkeSection()
    if section is None:
        return plain
    authorities = file_below(source, _certificates)
    certificate = section.get("certificate", authorities, None)
    private_key = section.get("private_key", file_below(source, _private_key), None)
    if "certificate" in section and "private_key" not in section:
        section.fault("private_key", "is missing: a certificate is of no use without its key")
    found = IkeSection(
        port=section.get("port", o.integer(1, 65535), plain.port),
        nat_port=section.get("nat_port", o.integer(1, 65535), plain.nat_port),
        proposals=section.get("proposals", o.several(ike_proposal, 1), ()),
        esp_proposals=section.get("esp_proposals", o.several(esp_proposal, 1), ()),
        certificate=certificate,
        private_key=private_key,
        authorities=section.get("authorities", o.several(authorities), ()),
        revocation=section.get("revocation", o.several(file_below(source, _revocations)), ()),
        migrate=section.get("migrate", o.choice("auto", "off"), plain.migrate),
        pf_key=section.get("pf_key", o.boolean, plain.pf_key),
        cookie_threshold=section.get(
            "cookie_threshold", o.integer(0, 1_000_000), plain.cookie_threshold
        ),
        dpd=section.get("dpd", o.number(0, 86400), plain.dpd),
        nat_keepalive=section.get("nat_keepalive", o.number(0, 3600), plain.nat_keepalive),
        retransmissions=section.get("retransmissions", o.integer(2, 20), plain.retransmissions),
        rekey_ike=section.get("rekey_ike", o.number(0, 31_536_000), plain.rekey_ike),
        rekey_child=section.get("rekey_child", o.number(0, 31_536_000), plain.rekey_child),
        reauthenticate=section.get("reauthenticate", o.number(0, 31_536_000), plain.reauthenticate),
        fragment_size=section.get("fragment_size", o.integer(576, 65535), plain.fragment_size),
        ticket_lifetime=section.get("ticket_lifetime", o.number(0, 86_400), plain.ticket_lifetime),
        follow_redirect=section.get("follow_redirect", o.boolean, plain.follow_redirect),
        redirect_to=section.get("redirect_to", gateway, plain.redirect_to),
        radius=_radius(section.section("radius")),
        connections=_connections(section, source),
    )
    if found.port == found.nat_port:
        section.fault("nat_port", "is the same as port: both are needed (RFC 3948)")
    if certificate is not None and private_key is not None:
        from .ike_build import signer

        try:
            signer(found, certified=True)
        except ValueError as error:
            section.fault("certificate", str(error))
    section.finish()
    return found


def _radius(section: Section | None) -> Radius | None:
    if section is None:
        return None
    nowhere: Address = IPv6Address(0)
    found = Radius(
        server=section.need("server", o.address, nowhere),
        port=section.get("port", o.integer(1, 65535), 1812),
        secret=section.need("secret", secret, b""),
    )
    section.finish()
    return found


def read_plan(
    section: Section, source: str, router: str, agent_identity: str, agent_name: str = ""
) -> KeyPlan:
    """Read who makes the keys of a router's entry, at either side.

    Static keys are chosen where they are given, and where nothing is said;
    certificates where only the home agent's ``agent_name`` is known.
    """
    usual = "ikev2" if agent_name else "static"
    word = section.get("keys", o.choice("static", "ikev2", "external"), usual)
    manager = Manager(word)
    if manager is Manager.IKEV2:
        section.get("identity", identity, "?")
    static = [name for name in ("static_key", "esp", "protection") if name in section]
    ikev2 = [
        name
        for name in (
            "auth",
            "psk",
            "password",
            "public_key",
            "ppk",
            "ppk_id",
            "movement",
            "eap_only",
        )
        if name in section
    ]
    if manager is Manager.STATIC:
        for name in ikev2:
            section.fault(name, 'goes with keys = "ikev2" only')
    elif static:
        section.fault("keys", f'"{word}" excludes {static[0]}')
    payload = section.get("payload", o.choice(*Payload), Payload.NONE.value)
    home_test = section.get("return_routability", o.choice(*Payload), Payload.NONE.value)
    movement = section.get("movement", o.choice(*Movement), Movement.MIGRATE.value)
    method = Authentication.CERTIFICATE if agent_name else Authentication.PSK
    needed = manager is Manager.IKEV2
    credentials = read_credentials(section, source, needed=needed, usual=method)
    return KeyPlan(
        manager=manager,
        payload=Payload(payload),
        return_routability=Payload(home_test),
        prefix_discovery=section.get("prefix_discovery", o.boolean, False),
        delegation=section.get("delegated_prefixes", o.integer(0, DELEGATED_MAX), 0) > 0,
        movement=Movement(movement),
        identity=router,
        agent_identity=agent_identity,
        credentials=credentials if manager is Manager.IKEV2 else None,
        reqid=section.get("reqid", o.integer(1, _REQID_MAX), 0),
        agent_name="" if agent_identity else agent_name,
    )


def read_credentials(
    section: Section,
    source: str,
    needed: bool = True,
    usual: Authentication = Authentication.PSK,
) -> Credentials:
    """Read what both ends know; which of it must be there depends on ``auth``."""
    method = Authentication(section.get("auth", o.choice(*Authentication), usual.value))
    found = Credentials(
        authentication=method,
        psk=section.get("psk", secret, b""),
        password=section.get("password", o.text, ""),
        public_key=section.get("public_key", file_below(source, _public_key), None),
        ppk_id=section.get("ppk_id", o.text, ""),
        ppk=section.get("ppk", secret, b""),
        ppk_required=section.get("ppk_required", o.boolean, False),
        eap_only=section.get("eap_only", o.boolean, False),
    )
    if found.eap_only and method is not Authentication.EAP_TLS:
        section.fault("eap_only", 'goes with auth = "eap-tls" only, which proves both ends')
    if not needed:
        return found
    wants = {
        Authentication.PSK: "psk",
        Authentication.PUBLIC_KEY: "public_key",
    }.get(method)
    if wants is not None and wants not in section:
        section.fault(wants, f'is missing: auth = "{method}" needs it')
    goes = {
        "psk": (Authentication.PSK,),
        "public_key": (Authentication.PUBLIC_KEY,),
        "password": (Authentication.EAP_MSCHAPV2,),
    }
    for option, methods in goes.items():
        if option in section and method not in methods:
            section.fault(option, f'is of no use with auth = "{method}"')
    if ("ppk" in section) != ("ppk_id" in section):
        missing = "ppk_id" if "ppk" in section else "ppk"
        section.fault(missing, "is missing: a PPK has a name and a value (RFC 8784)")
    return found


def _connections(section: Section, source: str) -> tuple[ConnectionEntry, ...]:
    found: list[ConnectionEntry] = []
    reqids: dict[int, str] = {}
    for entry in section.sections("connection"):
        name = entry.need("name", o.text, "?")
        if name in (other.name for other in found):
            entry.fault("name", "stands there twice")
        connection = ConnectionEntry(
            name=name,
            credentials=read_credentials(entry, source),
            local=entry.get("local", o.several(o.address), ()),
            remote=entry.get("remote", o.several(o.address), ()),
            local_identity=entry.need("local_identity", identity, "?"),
            remote_identity=entry.need("remote_identity", identity, "?"),
            movement=Movement(entry.get("movement", o.choice(*Movement), Movement.MIGRATE.value)),
            proposals=entry.get("proposals", o.several(ike_proposal, 1), ()),
            children=_children(entry, name, reqids),
        )
        found.append(connection)
        entry.finish()
    return tuple(found)


def _children(section: Section, connection: str, reqids: dict[int, str]) -> tuple[ChildEntry, ...]:
    found: list[ChildEntry] = []
    for entry in section.sections("child"):
        name = entry.need("name", o.text, "?")
        if name in (other.name for other in found):
            entry.fault("name", "stands there twice")
        reqid = entry.need("reqid", o.integer(1, _REQID_MAX), 0)
        if reqid and reqid in reqids:
            entry.fault("reqid", f"is that of {reqids[reqid]} too: ACQUIRE is matched by it")
        reqids[reqid] = f"{connection}/{name}"
        ends: tuple[Address, ...] = entry.get("endpoints", o.several(o.address), ())
        if ends and (len(ends) != 2 or ends[0].version != ends[1].version):
            entry.fault("endpoints", "allowed are two addresses of one family, local and remote")
        found.append(
            ChildEntry(
                name=name,
                reqid=reqid,
                tunnel=entry.get("mode", o.choice("tunnel", "transport"), "tunnel") == "tunnel",
                local=entry.need("local", o.several(selector, 1), ()),
                remote=entry.need("remote", o.several(selector, 1), ()),
                endpoints=(ends[0], ends[1]) if len(ends) == 2 else None,
                esp_proposals=entry.get("esp_proposals", o.several(esp_proposal, 1), ()),
                start=Start(entry.get("start", o.choice(*Start), Start.TRAP.value)),
            )
        )
        entry.finish()
    if not found and "child" not in section:
        section.fault("child", f"is missing: an entry [[{section.name}.child]] for each SA")
    return tuple(found)
