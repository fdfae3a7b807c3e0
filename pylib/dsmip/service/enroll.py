# SPDX-License-Identifier: GPL-2.0-only
"""Enrolment of a router: a token made at the home agent, a configuration made of it.

Nothing is written here: both sides return what should stand where.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ..packet.kernel import Address, Network
from . import files, uci, uci_write
from .config import Config, parse
from .ike_config import Authentication, Manager, Payload
from .ike_config import secret as read_psk
from .options import ConfigError, Fault
from .token import Token

#: How many days a token is good for unless something else is asked for.
TOKEN_DAYS: Final = 7
#: Home addresses are given from here on in a home prefix.
_FIRST_HOST: Final = 0x100
_SEARCH_MAX: Final = 1 << 20


class EnrollError(Exception):
    """A router cannot be enrolled so; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be written with a mode of ``files``."""

    path: str
    data: bytes = field(repr=False)
    mode: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for a router; what is None is chosen.

    ``prefixes`` are given; one more of ``prefix_length`` is taken from each of
    ``prefix_pools``. ``home_address`` "auto" is left to IKE, ``home_address4``
    "pool" to the home agent's pool.
    """

    identity: str
    home_address: IPv6Address | str | None = None
    home_address4: IPv4Address | str | None = None
    prefixes: tuple[Network, ...] = ()
    prefix_pools: tuple[Network, ...] = ()
    prefix_length: int | None = None
    manager: Manager = Manager.IKEV2
    authentication: Authentication = Authentication.PSK
    payload: Payload = Payload.NONE
    kind: str = ""
    directory: str = ""
    valid: float = TOKEN_DAYS * 86400.0


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A token, the entry for the home agent ("" when it is there already), files to write."""

    token: Token
    entry: str
    files: tuple[NewFile, ...] = ()


# --- TOML ------------------------------------------------------------------------


def _toml(value: object) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    # JSON's strings are TOML's, but for DEL, which no text of ours has.
    return json.dumps(str(value), ensure_ascii=False)


def section(head: str, values: Mapping[str, object]) -> str:
    """Write a table; None, empty texts and empty lists are left out."""
    lines = [head] if head else []
    lines += [f"{name} = {_toml(v)}" for name, v in values.items() if v not in (None, "", (), [])]
    return "\n".join(lines) + "\n"


def read_values(text: str, source: str) -> dict[str, Any]:
    """Read TOML. Raises ``ConfigError``."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Fault(source, "", "", "", f"is not TOML: {error}")]) from error


def read_uci(text: str, source: str) -> dict[str, Any]:
    """Read OpenWrt's form. Raises ``ConfigError``."""
    from .netifd import Devices

    try:
        return uci.tree_of(uci.parse_sections(text), source, Devices()).values
    except uci.UciError as error:
        raise ConfigError([Fault(source, "", "", "", f"is not UCI: {error}")]) from error


# --- at the home agent -----------------------------------------------------------


class Agent:
    """A home agent's configuration, also one that has no routers yet.

    Raises ``ConfigError`` for one with mistakes, ``EnrollError`` for one without
    a home agent in it.
    """

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        #: OpenWrt's form, as ``config.load`` tells it from TOML.
        self.uci = not Path(source).suffix
        self.values = read_uci(text, source) if self.uci else read_values(text, source)
        if not isinstance(self.values.get("home_agent"), dict):
            raise EnrollError(f"{source} has no [home_agent]: routers are enrolled there")
        agent: dict[str, Any] = self.values["home_agent"]
        agent.setdefault("router", [])
        self.config = parse(self.values, source)
        assert self.config.home_agent is not None
        self.section = self.config.home_agent
        self.identity = str(agent.get("identity", ""))
        self._entries: list[dict[str, Any]] = agent["router"]

    def entry_of(self, identity: str) -> dict[str, Any] | None:
        """Return what stands there for a router."""
        return next((one for one in self._entries if one.get("identity") == identity), None)

    def with_entry(self, entry: str) -> str:
        """Return the configuration with an entry appended. Raises ``ConfigError``."""
        if self.uci:
            (values,) = read_values(entry, self.source)["home_agent"]["router"]
            entry = uci_write.text_of([uci_write.peer(values)])
            text = self.text + ("" if self.text.endswith("\n") else "\n") + entry
            parse(read_uci(text, self.source), self.source)
            return text
        text = self.text + ("" if self.text.endswith("\n") else "\n") + "\n" + entry
        try:
            parse(read_values(text, self.source), self.source)
        except ConfigError as error:
            if any("is not TOML" in fault.problem for fault in error.faults):
                raise EnrollError(
                    f"{self.source} has [home_agent] in a form that nothing can be appended "
                    "to: use --print-only and put the entry there by hand"
                ) from None
            raise
        return text

    def agents(self) -> tuple[Address, ...]:
        """Return the addresses that a router is told: one of each family."""
        engine = self.section.engine
        four = () if engine.address4 is None else (engine.address4,)
        return (engine.addresses6[0], *four)

    def free_home_address(self) -> IPv6Address:
        """Return the first home address that nobody has. Raises ``EnrollError``."""
        engine = self.section.engine
        taken = {owner.home_address for owner in engine.owners} | set(engine.addresses6)
        nets = [p for owner in engine.owners for p in owner.prefixes if p.version == 6]
        nets += engine.pool6
        for home in engine.prefixes:
            first = min(_FIRST_HOST, home.num_addresses - 1)
            for number in range(first, min(home.num_addresses, first + _SEARCH_MAX)):
                address = home.network_address + number
                if address not in taken and not any(address in net for net in nets):
                    return address
        raise EnrollError("no home address is free: give --home-address")

    def free_prefix(self, pool: Network, length: int | None) -> Network:
        """Return the first prefix of a pool that nobody has. Raises ``EnrollError``."""
        wanted = length or min(pool.prefixlen + 8, 64 if pool.version == 6 else 30)
        if not pool.prefixlen <= wanted <= pool.max_prefixlen:
            raise EnrollError(f"{pool} has no prefixes of length {wanted}")
        engine = self.section.engine
        owned: list[Network] = [p for owner in engine.owners for p in owner.prefixes]
        owned += [*engine.prefixes, *engine.prefixes4, *engine.pool4]
        alike = [one for one in owned if one.version == pool.version]
        small = {one.supernet(new_prefix=wanted) for one in alike if one.prefixlen >= wanted}
        large = [one for one in alike if one.prefixlen < wanted]
        subnets: Iterator[Network] = pool.subnets(new_prefix=wanted)
        for subnet in islice(subnets, _SEARCH_MAX):
            if subnet not in small and not any(subnet.network_address in one for one in large):
                return subnet
        raise EnrollError(f"{pool} has no free prefix of length {wanted}")

    def home_prefix(self, home_address: IPv6Address | None) -> IPv6Network:
        """Return the home prefix of an address, or of the pool. Raises ``EnrollError``."""
        engine = self.section.engine
        wanted = engine.pool6[0].network_address if home_address is None else home_address
        found = next((prefix for prefix in engine.prefixes if wanted in prefix), None)
        if found is None:
            raise EnrollError(f"{wanted} is in no home prefix of the agent")
        return found


def enroll(agent: Agent, wish: Wish, now: float) -> Enrolment:
    """Make a credential, a token and an entry for a new router.

    Raises ``EnrollError``, and what ``credentials`` raises.
    """
    if agent.entry_of(wish.identity) is not None:
        raise EnrollError(f"{wish.identity} is enrolled already: --again makes another token")
    if wish.manager is not Manager.STATIC and not agent.identity:
        raise EnrollError(
            f"{agent.source}: the home agent needs a name first, like "
            '[home_agent] identity = "ha.example.net"'
        )
    engine = agent.section.engine
    home: IPv6Address | None
    if wish.home_address == "auto" or (
        wish.home_address is None and engine.pool6 and wish.manager is Manager.IKEV2
    ):
        if not engine.pool6:
            raise EnrollError('the home agent has no pool6 to take an "auto" home address from')
        home = None
    elif isinstance(wish.home_address, IPv6Address):
        home = wish.home_address
    else:
        home = agent.free_home_address()
    home4 = wish.home_address4
    if home4 is None and engine.pool4:
        home4 = "pool"
    prefixes = list(wish.prefixes)
    for pool in wish.prefix_pools:
        prefixes.append(agent.free_prefix(pool, wish.prefix_length))
    token = _token(agent, wish, now, home, home4, tuple(prefixes))
    token, values, made = _credential(agent, wish, token, now)
    entry = section(
        "[[home_agent.router]]",
        {
            "identity": wish.identity,
            "home_address": home,
            "home_address4": home4,
            "prefixes": tuple(prefixes),
            "mobile_router": None if prefixes else False,
            "payload": None if wish.payload is Payload.NONE else wish.payload,
            **values,
        },
    )
    return Enrolment(token, entry, made)


def again(agent: Agent, wish: Wish, now: float) -> Enrolment:
    """Make another token for a router that has an entry, which stays as it is.

    A shared secret is the same again; a key pair is a new one.
    """
    values = agent.entry_of(wish.identity)
    if values is None:
        raise EnrollError(f"{wish.identity} has no entry in {agent.source}")
    engine = agent.section.engine
    owner = next(one for one in engine.owners if one.identity == wish.identity)
    row = next(row for row in agent.section.rows if row.plan.identity == wish.identity)
    plan = row.plan
    if plan.manager is Manager.NONE or "esp" in values:
        raise EnrollError(f"{wish.identity} has no credential that a token could hold")
    method = Authentication(values.get("auth", Authentication.PSK))
    renewed = Wish(
        wish.identity,
        manager=plan.manager,
        authentication=method,
        payload=plan.payload,
        kind=wish.kind,
        directory=wish.directory,
        valid=wish.valid,
    )
    home = None if owner.dynamic_home_address else owner.home_address
    home4 = "pool" if owner.dynamic_home_address4 else owner.home_address4
    token = _token(agent, renewed, now, home, home4, owner.prefixes)
    old = _old_secret(values, plan.manager)
    if not old and (plan.manager is Manager.STATIC or method is Authentication.PSK):
        raise EnrollError(f"the entry of {wish.identity} has no secret that a token could hold")
    path = values.get("public_key")
    token, _values, made = _credential(agent, renewed, token, now, old, path)
    return Enrolment(token, "", made)


def _old_secret(values: Mapping[str, Any], manager: Manager) -> bytes:
    if manager is Manager.STATIC:
        return bytes.fromhex(str(values.get("static_key", "")).removeprefix("0x"))
    psk = values.get("psk")
    return read_psk(psk) if psk else b""


def _token(
    agent: Agent,
    wish: Wish,
    now: float,
    home: IPv6Address | None,
    home4: IPv4Address | str | None,
    prefixes: tuple[Network, ...],
) -> Token:
    return Token(
        identity=wish.identity,
        agents=agent.agents(),
        home_prefix=agent.home_prefix(home),
        made=int(now),
        expires=int(now + wish.valid),
        manager=wish.manager,
        authentication=wish.authentication,
        agent_identity=agent.identity,
        home_address=home,
        home_address4=home4 if isinstance(home4, IPv4Address) else None,
        request4=home4 == "pool",
        prefixes=prefixes,
        payload=wish.payload,
        port=agent.config.globals.port,
    )


def _credential(
    agent: Agent,
    wish: Wish,
    token: Token,
    now: float,
    old: bytes = b"",
    public_path: str | None = None,
) -> tuple[Token, dict[str, object], tuple[NewFile, ...]]:
    from . import credentials as c

    if wish.manager is Manager.STATIC:
        secret = old or c.new_secret()
        return replace(token, secret=secret), {"static_key": secret.hex()}, ()
    values: dict[str, object] = {"keys": wish.manager.value, "auth": wish.authentication.value}
    if wish.authentication is Authentication.PSK:
        secret = old or c.new_secret()
        return replace(token, secret=secret), {**values, "psk": c.secret_text(secret)}, ()
    from ..ikev2.signatures import KeyKind, generate_key, load_private_key

    ike = agent.config.ike
    if ike.private_key is None:
        raise EnrollError(
            f'auth = "{wish.authentication}" needs the home agent\'s own private_key in [ike]'
        )
    if wish.authentication is Authentication.PUBLIC_KEY:
        key = generate_key(KeyKind(wish.kind or KeyKind.ED25519.value))
        folder = Path(agent.source).parent
        path = folder / (
            public_path or Path(wish.directory, c.file_name(wish.identity) + ".pub").absolute()
        )
        return (
            replace(
                token,
                key=c.private_der(key),
                agent_key=load_private_key(ike.private_key.data).public.spki,
            ),
            {**values, "public_key": str(path)},
            (NewFile(str(path), key.public.pem(), files.PUBLIC),),
        )
    if wish.authentication is not Authentication.CERTIFICATE:
        raise EnrollError(f'no token can be made for auth = "{wish.authentication}"')
    from ..ikev2.certificates import load_certificates
    from .authority import Authority

    key = generate_key(KeyKind(wish.kind or KeyKind.P256.value))
    issuer = Authority.load(wish.directory)
    anchors = [one for file in ike.authorities for one in load_certificates(file.data)]
    if issuer.certificate not in anchors:
        raise EnrollError(
            f"{issuer.folder / 'ca.crt'} is not among [ike] authorities of {agent.source}: "
            "the home agent would not believe its certificates"
        )
    certificate = issuer.issue(c.identity_of(wish.identity), key.public, now)
    return (
        replace(
            token,
            key=c.private_der(key),
            chain=(certificate.der,),
            authorities=tuple(one.der for one in anchors),
        ),
        values,
        (),
    )


# --- at the router ---------------------------------------------------------------


def configuration(
    token: Token,
    uplinks: Iterable[str],
    lan: Iterable[str] = (),
    directory: str = "",
    manager: Manager | None = None,
) -> tuple[str, tuple[NewFile, ...]]:
    """Return a router's configuration and the files it names, in ``directory``.

    ``manager`` external leaves the keys to another process. Raises ``EnrollError``.
    """
    from . import credentials as c

    keeper = manager or token.manager
    if (keeper is Manager.STATIC) != (token.manager is Manager.STATIC):
        raise EnrollError(f'the token is for keys = "{token.manager}"')
    if keeper is Manager.EXTERNAL and token.home_address is None:
        raise EnrollError('a home address from IKE needs keys = "ikev2"')
    values: dict[str, object] = {
        "identity": token.identity,
        "home_address": token.home_address or "auto",
        "home_address4": "request" if token.request4 else token.home_address4,
        "home_prefix": token.home_prefix,
        "home_agent": token.agents,
        "home_agent_identity": token.agent_identity,
        "prefixes": token.prefixes,
        "mode": None if token.prefixes else "implicit",
        "lan": tuple(lan),
        "payload": None if token.payload is Payload.NONE else token.payload,
    }
    made: list[NewFile] = []
    ike: dict[str, object] = {}
    if keeper is Manager.STATIC:
        values["static_key"] = token.secret.hex()
    else:
        values |= {"keys": keeper.value, "auth": token.authentication.value}
        if token.authentication is Authentication.PSK:
            values["psk"] = c.secret_text(token.secret)
        else:
            ike, made = _key_files(token, directory)
            if "public_key" in ike:
                values["public_key"] = ike.pop("public_key")
    parts = [
        "# Written by dsmip enroll. It holds secrets: nobody but root may read it.\n",
        section("[mobile_router]", values),
        *(
            section("[[mobile_router.uplink]]", {"interface": name, "priority": 10 * number})
            for number, name in enumerate(uplinks, 1)
        ),
    ]
    if ike:
        parts.append(section("[ike]", ike))
    if token.port != 4191:
        parts.append(section("[globals]", {"port": token.port}))
    return "\n".join(parts), tuple(made)


def _key_files(token: Token, directory: str) -> tuple[dict[str, object], list[NewFile]]:
    from ..ikev2.certificates import Certificate, CertificateError
    from ..ikev2.signatures import load_private_key, load_public_key
    from . import credentials as c

    base = Path(directory, c.file_name(token.identity)).absolute()

    def path(suffix: str) -> str:
        return str(base.with_name(base.name + suffix))

    try:
        key = load_private_key(token.key)
        made = [NewFile(path(".key"), key.pem(), files.SECRET)]
        ike: dict[str, object] = {"private_key": path(".key")}
        if token.authentication is Authentication.PUBLIC_KEY:
            agent_key = load_public_key(token.agent_key)
            made.append(NewFile(path(".agent.pub"), agent_key.pem(), files.PUBLIC))
            return ike | {"public_key": path(".agent.pub")}, made
        chain = [Certificate.parse(der) for der in token.chain]
        anchors = [Certificate.parse(der) for der in token.authorities]
    except (ValueError, CertificateError):
        raise EnrollError("the key or certificate in the token cannot be used") from None
    if not chain or not anchors or chain[0].public != key.public:
        raise EnrollError("the token has no certificate for its key")
    made.append(NewFile(path(".crt"), c.pem(chain), files.PUBLIC))
    made.append(NewFile(path(".ca.crt"), c.pem(anchors), files.PUBLIC))
    return ike | {"certificate": path(".crt"), "authorities": [path(".ca.crt")]}, made


def check(text: str, source: str) -> Config:
    """Check a configuration as ``check-config`` does. Raises ``ConfigError``."""
    return parse(read_values(text, source), source)


# --- what the router has ---------------------------------------------------------


def uplinks_now(proc: Path = Path("/proc/net")) -> list[str]:
    """Return the interfaces that have a default route now, best first."""
    found: list[tuple[int, str]] = []
    for line in _lines(proc / "route")[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == fields[7] == "00000000":
            found.append((int(fields[6]), fields[0]))
    for line in _lines(proc / "ipv6_route"):
        fields = line.split()
        if len(fields) > 9 and fields[0] == "0" * 32 and fields[1] == "00":
            found.append((int(fields[5], 16), fields[9]))
    names = [name for _metric, name in sorted(found)]
    return [name for name in dict.fromkeys(names) if name not in ("lo", "mip0")]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def lan_now(net: Path = Path("/sys/class/net")) -> list[str]:
    """Return OpenWrt's LAN bridge if there is one."""
    return ["br-lan"] if (net / "br-lan").exists() else []
