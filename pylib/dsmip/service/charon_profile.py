# SPDX-License-Identifier: GPL-2.0-only
"""swanctl.conf and strongswan.conf for a charon that keys what dsmip protects.

Policies are dsmip's, charon makes the associations. Both know each other's only
by request ids, and charon hears of movements by MIGRATE with KMADDRESS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any, Final

from ..ikev2.identity import Identity
from ..ikev2.numbers import IdType
from ..ipsec.association import ICMP6
from ..ipsec.policy import Form, Kind, Numbering, Role, Row
from ..packet.kernel import Network
from .config import Config
from .credentials import file_name
from .ike_config import Authentication, Credentials, IkeSection, Manager, read_credentials
from .members import Member, members
from .options import Fault, Section

#: What Debian's charon knows and RFC 8247 wants; AEAD and other ciphers apart.
_IKE: Final = (
    "aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp384-ecp256-modp2048",
    "aes256-aes128-sha256-sha384-x25519-ecp256-modp2048",
)
_ESP: Final = ("aes256gcm16-aes128gcm16-esn-noesn", "aes256-aes128-sha256-esn-noesn")
#: IKEv1 has no AEAD for itself, and one proposal cannot mix key lengths.
_IKE1: Final = ("aes256-sha256-modp2048", "aes128-sha256-modp2048")
_ESP1: Final = ("aes256gcm16", "aes128gcm16", "aes256-sha256", "aes128-sha256")
_KINDS: Final = {
    Kind.SIGNALLING: ("signalling", "Binding Updates and Acknowledgements"),
    Kind.PREFIX_DISCOVERY: ("prefix-discovery", "Mobile Prefix Solicitation and Advertisement"),
    Kind.RETURN_ROUTABILITY: ("return-routability", "Home Test Init and Home Test"),
    Kind.PAYLOAD: ("payload", "Everything else of the mobile network"),
    Kind.DELEGATION: ("delegation", "DHCPv6 for prefixes"),
}
#: The daemon's order: numbers that collide go to who comes first.
_ROLES: Final = (Role.HOME_AGENT, Role.MOBILE_ROUTER)
_EVERYTHING: Final = (IPv6Network("::/0"),)
_MASKED: Final = "0x"


class ProfileError(Exception):
    """No profile can be made of a configuration; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Both files. ``swanctl`` holds the secrets, ``masked`` is the same without."""

    swanctl: str = field(repr=False)
    masked: str
    strongswan: str
    connections: tuple[str, ...]
    notes: tuple[str, ...]


def profile(
    config: Config,
    values: Mapping[str, Any],
    source: str,
    role: Role | None = None,
    version: int = 2,
    every: bool = False,
) -> Profile:
    """Make the files of a configuration, read from ``values`` of the file ``source``.

    ``role`` chooses where both are configured, ``every`` takes routers with keys
    of dsmip's own IKEv2 too. Raises ``ProfileError``.
    """
    chosen = [one for one in _ROLES if role in (None, one) and _section(config, one) is not None]
    if not chosen:
        raise ProfileError(f"{source} has no such role")
    numbering = Numbering()
    managers = {Manager.EXTERNAL} | ({Manager.IKEV2} if every else set())
    # All of them get their numbers in the daemon's order, those without charon too.
    found = members(
        [(one, row) for one in _ROLES for row in _rows(config, one)], numbering
    ).values()
    wanted = [m for m in found if m.role in chosen and m.row.plan.manager in managers]
    if not wanted:
        raise ProfileError(
            f'{source}: nothing has keys = "external"'
            + ("" if every else '; --every takes those of keys = "ikev2" too')
        )
    texts: list[str] = []
    secrets: list[tuple[str, Credentials, Member]] = []
    notes: dict[str, None] = {}
    names: list[str] = []
    explained: set[str] = set()
    for member in wanted:
        credentials = _credentials(values, source, member)
        name = _name(member, names)
        names.append(name)
        writer = _Writer(config.ike, member, credentials, version, name, explained)
        texts += writer.connections()
        secrets.append((name, credentials, member))
        notes |= dict.fromkeys(writer.notes)
    head = _HEAD.format(source=source, version=version, roles=_roles(wanted))
    connections = "connections {\n" + "\n".join(texts) + "}\n"
    return Profile(
        swanctl=head + connections + _secrets(secrets, shown=True),
        masked=head + connections + _secrets(secrets, shown=False),
        strongswan=_strongswan(config, wanted, version, secrets),
        connections=tuple(names),
        notes=tuple(notes),
    )


def _section(config: Config, role: Role) -> Any:
    return config.home_agent if role is Role.HOME_AGENT else config.mobile_router


def _rows(config: Config, role: Role) -> Iterable[Any]:
    section = _section(config, role)
    return section.rows if section is not None else ()


def _roles(wanted: Iterable[Member]) -> str:
    words = {Role.HOME_AGENT: "home agent", Role.MOBILE_ROUTER: "mobile router"}
    return " and ".join(dict.fromkeys(words[member.role] for member in wanted))


def _name(member: Member, taken: list[str]) -> str:
    base = "dsmip-" + file_name(member.name).replace(".", "-").replace("@", "-")
    name = base
    number = 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def _credentials(values: Mapping[str, Any], source: str, member: Member) -> Credentials:
    """Read the credentials of an entry: for external keys the daemon has no use for them."""
    if member.row.plan.credentials is not None:
        return member.row.plan.credentials
    entry: Mapping[str, Any]
    if member.role is Role.MOBILE_ROUTER:
        entry, name = values["mobile_router"], "mobile_router"
    else:
        entries = values["home_agent"]["router"]
        entry = next(one for one in entries if one["identity"] == member.row.plan.identity)
        name = "home_agent.router"
    faults: list[Fault] = []
    found = read_credentials(Section(source, name, entry, faults), source, needed=False)
    if faults:
        raise ProfileError("\n".join(str(fault) for fault in faults))
    return found


# --- swanctl.conf ----------------------------------------------------------------

_HEAD: Final = """\
# swanctl.conf for charon as dsmip's key manager (keys = "external"), IKEv{version},
# at the {roles}; made by "dsmip charon-profile" from
# {source}: make it anew when that changes.
#
# Load it with "swanctl --load-all", or put it into /etc/swanctl/conf.d/.
# Six settings make charon follow Mobile IPv6; they are marked (1) to (6).

"""

_WHY: Final = {
    "mode": (
        "(1) The SA is between home address and home agent, while IKE runs from",
        "    the care-of address.",
    ),
    "policies": (
        "(2) Policies are dsmip's: charon's own would not match mobility headers",
        "    and would freeze the care-of address.",
    ),
    "reqid": ("(3) The number in dsmip's policies: ACQUIRE and MIGRATE are matched by it.",),
    "mobike": ("(5) dsmip moves this IKE SA, by MIGRATE; MOBIKE must not move it too.",),
    "trap": (
        "(6) Registers the reqid, so that the first packet that needs the SA makes",
        "    charon set it up. No policy is installed by it.",
    ),
    "silent": (
        "    The home agent's end begins no exchange: MIGRATE has no port, so it does",
        "    not know the one at a NAT before the router has spoken.",
    ),
    "inside": (
        "    SAs between home address and home agent, with an IKE SA of their own that",
        "    the tunnel carries: neither sees a movement or a NAT.",
    ),
}


@dataclass(slots=True)
class _Writer:
    ike: IkeSection
    member: Member
    credentials: Credentials
    version: int
    name: str
    explained: set[str]
    notes: list[str] = field(default_factory=list)

    def _why(self, what: str, indent: str) -> Iterator[str]:
        """Explain a setting where it stands for the first time."""
        if what not in self.explained:
            self.explained.add(what)
            yield from (f"{indent}# {text}" for text in _WHY[what])

    @property
    def _router(self) -> bool:
        return self.member.role is Role.MOBILE_ROUTER

    def connections(self) -> Iterator[str]:
        """Write the connections of a router and a home agent."""
        plan = self.member.row.plan
        for name, value in (("identity", plan.identity), ("agent_identity", plan.agent_identity)):
            if not value:
                raise ProfileError(f"{self.member.name}: {name} is missing, charon needs it")
        agents = [str(self.member.mobile.agent)]
        if self.member.row.agent4 is not None:
            agents.append(str(self.member.row.agent4))
        yield self._connection(
            self.name,
            [row for row in self.member.rows if row.form is not Form.INSIDE],
            ("%any", ", ".join(agents)),
            (plan.identity, plan.agent_identity),
            moves=True,
        )
        inside = inside_rows(self.member)
        if not inside:
            return
        if self.credentials.authentication is not Authentication.PSK:
            raise ProfileError(
                f'{self.member.name}: payload = "inside" goes with auth = "psk" only, '
                "since both ends are called by their addresses there"
            )
        ends = str(self.member.mobile.home_address), str(self.member.mobile.agent)
        yield self._connection(inside_name(self.name), inside, ends, ends, moves=False)

    def _connection(
        self,
        name: str,
        rows: Iterable[Row],
        addresses: tuple[str, str],
        identities: tuple[str, str],
        moves: bool,
    ) -> str:
        """Write a connection; addresses and identities are the router's and the agent's."""
        local, remote = addresses if self._router else addresses[::-1]
        own, other = identities if self._router else identities[::-1]
        why = () if moves else self._why("inside", "  ")
        lines = [*why, f"  {name} {{", *self._ike_lines(local, remote, moves)]
        lines += self._side("local", own, mine=True)
        lines += self._side("remote", other, mine=False)
        lines.append("    children {")
        for row in rows:
            lines += self._child(row)
        return "\n".join([*lines, "    }", "  }", ""])

    def _ike_lines(self, local: str, remote: str, moves: bool) -> list[str]:
        proposals = ", ".join(_IKE1 if self.version == 1 else self.ike.proposals or _IKE)
        lines = [
            f"    version = {self.version}",
            f"    local_addrs = {local}",
            f"    remote_addrs = {remote}",
            f"    proposals = {proposals}",
            *self._why("mobike", "    "),
            "    mobike = no",
            "    unique = replace",
        ]
        if moves and not self._router:
            lines += [*self._why("silent", "    "), "    dpd_delay = 0", "    rekey_time = 0"]
        else:
            lines += [
                f"    dpd_delay = {self.ike.dpd:.0f}s",
                f"    rekey_time = {self.ike.rekey_ike:.0f}s",
            ]
            if self.ike.reauthenticate:
                lines.append(f"    reauth_time = {self.ike.reauthenticate:.0f}s")
        if moves and self.version == 1 and self.credentials.authentication is Authentication.PSK:
            self.notes.append(
                "IKEv1 with a PSK and changing addresses needs aggressive mode, whose hash of "
                "the PSK anybody on the way can try to guess: use certificates, or IKEv2"
            )
            lines += [
                "    # The home agent cannot tell the PSK by address, and main mode hides the",
                "    # name until it is needed. The PSK must not be guessable.",
                "    aggressive = yes",
            ]
        return lines

    def _side(self, side: str, identity: str, mine: bool) -> list[str]:
        lines = [f"    {side} {{", f"      id = {charon_identity(identity)}"]
        method = self.credentials.authentication
        if method is Authentication.PSK:
            lines.append("      auth = psk")
        elif method is Authentication.PUBLIC_KEY:
            lines.append("      auth = pubkey")
            if mine:
                lines.append("      # The raw public key of the private key, see the end.")
                lines.append(f"      pubkeys = {file_name(identity)}.pub")
            elif self.credentials.public_key is not None:
                lines.append(
                    f"      pubkeys = {_quoted(_absolute(self.credentials.public_key.path))}"
                )
        elif method is Authentication.CERTIFICATE:
            lines.append("      auth = pubkey")
            if mine and self.ike.certificate is not None:
                lines.append(f"      certs = {_quoted(_absolute(self.ike.certificate.path))}")
            elif not mine and self.ike.authorities:
                paths = ", ".join(_quoted(_absolute(file.path)) for file in self.ike.authorities)
                lines.append(f"      cacerts = {paths}")
            if not mine and self.ike.revocation:
                lines.append("      # Put the revocation lists into /etc/swanctl/x509crl/.")
                lines.append("      revocation = relaxed")
        else:
            raise ProfileError(
                f'{self.member.name}: auth = "{method}" is not supported here, '
                "write the local and remote sections by hand"
            )
        return [*lines, "    }"]

    def _child(self, row: Row) -> Iterator[str]:
        name, what = _KINDS[row.kind]
        home, remote = self._selectors(row)
        local, other = (home, remote) if self._router else (remote, home)
        esp = ", ".join(_ESP1 if self.version == 1 else self.ike.esp_proposals or _ESP)
        yield f"      # {what}."
        yield f"      {self.name}-{name} {{"
        if row.form is None:
            yield from self._why("mode", "        ")
            yield "        mode = transport_proxy"
        else:
            if row.moves:
                yield "        # Between care-of address and home agent; MIGRATE moves it."
                self.notes.append(
                    "charon 5.9 loses IPv6 payload from a move to IPv4 until it makes new keys: "
                    'payload = "inside" has no such gap'
                )
            yield "        mode = tunnel"
        yield from self._why("policies", "        ")
        yield "        policies = no"
        yield from self._why("reqid", "        ")
        yield f"        reqid = {row.reqid}"
        yield f"        local_ts = {local}"
        yield f"        remote_ts = {other}"
        yield f"        esp_proposals = {esp}"
        inside = row.form is Form.INSIDE
        if not self._router and not inside:
            # With a life_time beside it charon would rekey all the time.
            yield "        rekey_time = 0"
        else:
            yield f"        rekey_time = {self.ike.rekey_child:.0f}s"
        if self._router or inside:
            yield from self._why("trap", "        ")
            yield "        start_action = trap"
            yield "        dpd_action = trap"
            yield "        close_action = trap"
        else:
            yield "        start_action = none"
        yield "      }"

    def _selectors(self, row: Row) -> tuple[str, str]:
        """Return the selectors of the router's side and of the other one."""
        home: Iterable[Network] = row.home
        remote: Iterable[Network] = row.remote
        if self.version == 1 and row.kind is Kind.PAYLOAD:
            # An IKEv1 child has one selector at each end; the kernel's policies and
            # the prefixes of the binding say what may really pass.
            home = remote = _EVERYTHING
        suffixes = ["", ""]
        if row.protocol == ICMP6 and all(row.types):
            suffixes = [f"[{ICMP6}/{_of_type(kind)}]" for kind in row.types if kind is not None]
            if self.version == 1:
                suffixes = [f"[{ICMP6}]"] * 2
        elif row.protocol:
            port = "" if row.port is None else f"/{row.port}"
            suffixes = [f"[{row.protocol}]", f"[{row.protocol}{port}]"]
        return (
            ", ".join(f"{network}{suffixes[0]}" for network in home),
            ", ".join(f"{network}{suffixes[1]}" for network in remote),
        )


def _of_type(kind: int) -> str:
    """Write an ICMPv6 type with any code (RFC 7296 section 3.13.1)."""
    return f"{kind << 8}-{kind << 8 | 0xFF}"


def charon_identity(text: str) -> str:
    """Write an identity of the configuration as charon reads it; "" raises ``ValueError``."""
    identity = Identity.parse(text)
    if identity.type == IdType.FQDN and not _special(text):
        return text
    if identity.type in (IdType.IPV4_ADDR, IdType.IPV6_ADDR):
        return str(identity.address)
    kinds = {
        int(IdType.FQDN): "fqdn",
        int(IdType.RFC822_ADDR): "email",
        int(IdType.DER_ASN1_DN): "asn1dn",
        int(IdType.DER_ASN1_GN): "asn1gn",
        int(IdType.KEY_ID): "keyid",
    }
    kind = kinds.get(identity.type)
    if kind is None:
        raise ProfileError(f"charon has no identity like {text}")
    if identity.type == IdType.RFC822_ADDR and not _special(text):
        return text
    return f'"{kind}:#{identity.data.hex()}"'


def _special(text: str) -> bool:
    return any(character in text for character in '"#{}=,:*%\\ ')


def _quoted(text: str) -> str:
    # Elements of a list cannot be quoted one by one, so quotes only where they must be.
    if not _special(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def inside_rows(member: Member) -> list[Row]:
    """Return the rows between home address and home agent that have tunnels."""
    return [row for row in member.rows if row.form is Form.INSIDE]


def inside_name(name: str) -> str:
    """Return what the connection for them is called."""
    return f"{name}-inside"


def _secrets(given: Iterable[tuple[str, Credentials, Member]], shown: bool) -> str:
    lines = ["", "secrets {"]
    others: dict[str, None] = {}
    for name, credentials, member in given:
        plan = member.row.plan
        if credentials.authentication is not Authentication.PSK:
            others |= dict.fromkeys(_key_advice(credentials))
            continue
        pairs = [(name, plan.identity, plan.agent_identity)]
        if inside_rows(member):
            ends = str(member.mobile.home_address), str(member.mobile.agent)
            pairs.append((inside_name(name), *ends))
        for entry, router, agent in pairs:
            lines += [
                f"  ike-{entry} {{",
                f"    id-router = {charon_identity(router)}",
                f"    id-agent = {charon_identity(agent)}",
                *_secret_lines(credentials.psk, shown),
                "  }",
            ]
    return "\n".join([*lines, *others, "}", ""])


def _secret_lines(secret: bytes, shown: bool) -> Iterator[str]:
    if not secret:
        yield "    # The configuration has no psk for it: give 0x and hexadecimal."
        yield "    # secret = 0x..."
    elif shown:
        yield f"    secret = {_MASKED}{secret.hex()}"
    else:
        yield "    # secret = 0x... (written to a file, or with --secrets)"


def _key_advice(credentials: Credentials) -> Iterator[str]:
    yield "  # Private keys are not named here: put the one of [ike] private_key into"
    yield "  # /etc/swanctl/private/, readable for root only."
    if credentials.authentication is Authentication.PUBLIC_KEY:
        yield "  # Its public key (dsmip keys export KEY --output FILE) goes to"
        yield "  # /etc/swanctl/pubkey/."


# --- strongswan.conf -------------------------------------------------------------

_STRONGSWAN: Final = """\
# strongswan.conf for charon as dsmip's key manager, at the {roles}.
# On Debian put it into /etc/strongswan.d/dsmip.conf; charon reads it when it starts.

charon {{
{lines}
}}
"""


def _strongswan(
    config: Config,
    wanted: Iterable[Member],
    version: int,
    secrets: Iterable[tuple[str, Credentials, Member]],
) -> str:
    members_ = list(wanted)
    lines = [
        "# Routes and addresses are dsmip's.",
        "install_routes = no",
        "install_virtual_ip = no",
    ]
    if not any(inside_rows(member) for member in members_):
        lines += [
            "# The home address is no care-of address: IKE must not run from it.",
            f"interfaces_ignore = {config.globals.device}",
        ]
    if any(row.moves for member in members_ for row in member.rows):
        lines += [
            "# MIGRATE moves one SA of a reqid: for so long after a rekey it is the old one,",
            "# and the new one stays where the router was. 0 would be until it expires.",
            "delete_rekeyed_delay = 1",
        ]
    if config.ike.port != 500 or config.ike.nat_port != 4500:
        lines += [f"port = {config.ike.port}", f"port_nat_t = {config.ike.nat_port}"]
    agent = any(member.role is Role.HOME_AGENT for member in members_)
    psk = any(one.authentication is Authentication.PSK for _, one, _ in secrets)
    if version == 1 and agent and psk:
        lines += [
            "# Without this charon answers no aggressive mode with a PSK.",
            "i_dont_care_about_security_and_use_aggressive_mode_psk = yes",
        ]
    lines += [
        "plugins {",
        "  kernel-netlink {",
        "    # (4) Otherwise charon deletes its IKE SA as soon as an address goes, before",
        "    #     dsmip has spoken. It is one switch for the daemon: MOBIKE does not work",
        "    #     for other connections either.",
        "    roam_events = no",
        "  }",
        "  bypass-lan {",
        "    # It would let whatever goes to a neighbour pass in clear, before dsmip's",
        "    # policies are asked.",
        "    load = no",
        "  }",
        "}",
    ]
    return _STRONGSWAN.format(
        roles=_roles(members_), lines="\n".join(f"  {line}" for line in lines)
    )
