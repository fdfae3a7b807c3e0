# SPDX-License-Identifier: GPL-2.0-only
"""ESP in user space: published vectors, forgeries, replays, and the judge beside it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.ipsec.association import (
    MOBILITY_HEADER,
    Association,
    Cipher,
    Encapsulation,
    Integrity,
    Mode,
    SecurityProtocol,
)
from dsmip.ipsec.database import Held, NotPossible, SecurityTable
from dsmip.ipsec.esp import EspError, EspTransport, Exhausted, ReplayWindow, spi_of
from dsmip.ipsec.policy import (
    Form,
    Mobile,
    Protection,
    Role,
    Whereabouts,
    associations,
    block_policy,
    first_reqid,
    policies,
    rows,
)
from dsmip.ipsec.static import derive
from hypothesis import given
from hypothesis import strategies as st

HOA, HA = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
STRANGER = IPv6Address("2001:db8:66::1")
BUS = Mobile(HOA, HA, first_reqid("bus-17"))
UPDATE = bytes.fromhex("3b010500123400010000000000000000")
SECRET = bytes(range(32))


def association(cipher: Cipher, integrity: Integrity, **more: object) -> Association:
    size = cipher.key_sizes[0]
    made = Association(
        HOA, HA, 0x1234, bytes(range(size)), bytes(range(integrity.key_size)), None,
        Mode.TRANSPORT, 7, cipher=cipher, integrity=integrity,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


SUITES = [
    association(Cipher.AES_CBC, Integrity.HMAC_SHA2_256_128),
    association(Cipher.AES_CBC, Integrity.HMAC_SHA1_96, encryption_key=bytes(32)),
    association(Cipher.AES_CBC, Integrity.HMAC_SHA2_512_256),
    association(Cipher.NULL, Integrity.HMAC_SHA2_384_192),
    association(Cipher.AES_GCM_16, Integrity.NONE),
    association(Cipher.CHACHA20_POLY1305, Integrity.NONE),
]
suites = pytest.mark.parametrize("suite", SUITES, ids=lambda a: f"{a.cipher.name}-{a.integrity}")


def test_rfc3602_case_5_is_encrypted_as_there() -> None:
    """AES-CBC in transport mode, its key, IV and ciphertext from RFC 3602 section 4.

    The RFC's packet has no integrity; ours comes after what the RFC gives.
    """
    key = bytes.fromhex("90d382b410eeba7ad938c46cec1a82bf")
    iv = bytes.fromhex("e96e8c08ab465763fd098d45dd3ff893")
    payload = bytes.fromhex(
        "08000ebda70a00008e9c083db95b0700"
        "08090a0b0c0d0e0f1011121314151617"
        "18191a1b1c1d1e1f2021222324252627"
        "28292a2b2c2d2e2f3031323334353637"
    )
    suite = association(Cipher.AES_CBC, Integrity.HMAC_SHA2_256_128, encryption_key=key, spi=0x4321)
    esp = EspTransport(suite, random=lambda size: iv[:size])
    packet = esp.seal(payload, 1)
    expected = (
        "00004321 00000001 e96e8c08ab465763fd098d45dd3ff893"
        "f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856"
        "a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874a"
        "a269add047ad2d5913ac19b7cfbad4a6"
    )
    assert packet[:-16].hex() == expected.replace(" ", "")
    assert EspTransport(suite).open(packet) == (1, payload)


@suites
@given(payload=st.binary(max_size=90), protocol=st.integers(0, 255))
def test_what_is_sealed_is_opened(suite: Association, payload: bytes, protocol: int) -> None:
    packet = EspTransport(suite).seal(payload, protocol)
    assert spi_of(packet) == suite.spi
    assert EspTransport(suite).open(packet) == (protocol, payload)
    assert len(packet) % 4 == 0


@suites
def test_every_octet_counts(suite: Association) -> None:
    packet = EspTransport(suite).seal(UPDATE, MOBILITY_HEADER)
    for at in range(len(packet)):
        forged = bytearray(packet)
        forged[at] ^= 1
        with pytest.raises(EspError) as refused:
            EspTransport(suite).open(bytes(forged))
        assert refused.value.counter == "esp_forged"
    for end in range(len(packet)):
        with pytest.raises(EspError) as refused:
            EspTransport(suite).open(packet[:end])
        assert refused.value.counter in ("esp_forged", "esp_malformed")


@suites
def test_no_packet_is_sealed_twice_alike(suite: Association) -> None:
    esp = EspTransport(suite)
    assert len({esp.seal(UPDATE, MOBILITY_HEADER) for _ in range(20)}) == 20


@pytest.mark.parametrize(
    "plain", [b"", b"\0", b"\x05\x87", b"abc\x02\x01\x02\x87", b"ab\x07\x03\x87"]
)
def test_authentic_nonsense_is_refused(plain: bytes) -> None:
    """A trailer that cannot be, from somebody with the keys."""
    suite = association(Cipher.NULL, Integrity.HMAC_SHA2_256_128)
    esp = EspTransport(suite)
    body = suite.spi.to_bytes(4, "big") + b"\0\0\0\x01" + plain
    with pytest.raises(EspError) as refused:
        esp.open(body + esp._tag(body))
    assert refused.value.counter == "esp_malformed"


def test_sequence_numbers_end() -> None:
    """RFC 4303 section 3.3.3: they never cycle."""
    esp = EspTransport(SUITES[0])
    esp.sent = 0xFFFFFFFE
    esp.seal(UPDATE, MOBILITY_HEADER)
    with pytest.raises(Exhausted):
        esp.seal(UPDATE, MOBILITY_HEADER)


@pytest.mark.parametrize(
    "change",
    [
        {"mode": Mode.TUNNEL},
        {"protocol": SecurityProtocol.AH, "cipher": Cipher.NONE, "encryption_key": b""},
        {"esn": True, "replay_window": 32},
    ],
)
def test_what_only_the_kernel_does(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="user space"):
        EspTransport(replace(SUITES[0], **change))  # type: ignore[arg-type]


# --- replay --------------------------------------------------------------------------


def test_window_by_its_edges() -> None:
    window = ReplayWindow(32)
    for sequence in (1, 2, 5, 100):
        assert window.fresh(sequence)
        window.take(sequence)
    assert not window.fresh(100)
    assert window.fresh(69)
    assert not window.fresh(68)
    window.take(69)
    assert not window.fresh(69)
    assert window.fresh(99)
    window.take(1000)
    assert not window.fresh(968)
    assert window.fresh(969)
    assert not window.fresh(0)


@given(sequences=st.lists(st.integers(0, 80), max_size=60), size=st.sampled_from([1, 32, 64]))
def test_window_accepts_each_number_once(sequences: list[int], size: int) -> None:
    window, accepted = ReplayWindow(size), set()
    last = 0
    for sequence in sequences:
        expected = sequence > 0 and sequence not in accepted and sequence > last - size
        assert window.fresh(sequence) is expected
        if expected:
            window.take(sequence)
            accepted.add(sequence)
            last = max(last, sequence)


def test_replayed_packet_is_refused_and_a_forged_one_moves_nothing() -> None:
    suite = replace(SUITES[4], replay_window=32)
    sender, receiver = EspTransport(suite), EspTransport(suite)
    first = sender.seal(UPDATE, MOBILITY_HEADER)
    receiver.open(first)
    with pytest.raises(EspError) as refused:
        receiver.open(first)
    assert refused.value.counter == "esp_replayed"
    far = bytearray(sender.seal(UPDATE, MOBILITY_HEADER))
    far[4] = 0x7F
    with pytest.raises(EspError):
        receiver.open(bytes(far))
    assert receiver.window.last == 1


def test_static_keys_have_no_window() -> None:
    """RFC 3776 section 4.4: a sender that restarted begins at 1 again, and is heard."""
    receiver = EspTransport(SUITES[0])
    for _ in range(2):
        receiver.open(EspTransport(SUITES[0]).seal(UPDATE, MOBILITY_HEADER))


# --- the databases -------------------------------------------------------------------


def table(role: Role, keys: bool = True) -> SecurityTable:
    made = SecurityTable()
    for policy in policies(BUS, Protection(), role, Whereabouts.HOME):
        made.put_policy(policy)
    for row in rows(BUS, Protection()) if keys else ():
        for one in associations(row, derive(SECRET, HOA, HA)):
            made.add_association(one)
    return made


ROUTER, AGENT = Role.MOBILE_ROUTER, Role.HOME_AGENT


@pytest.mark.parametrize("towards_agent", [True, False])
def test_both_ends_understand_each_other(towards_agent: bool) -> None:
    ends = (table(ROUTER), table(AGENT))
    sender, receiver = ends if towards_agent else ends[::-1]
    pair = (HOA, HA) if towards_agent else (HA, HOA)
    packet = sender.protect(*pair, UPDATE)
    assert UPDATE not in packet
    assert receiver.unprotect(*pair, packet) == UPDATE


def test_nothing_protected_comes_or_goes_in_clear() -> None:
    assert not table(AGENT).admits(HOA, HA, UPDATE)
    assert not table(ROUTER).admits(HA, HOA, UPDATE)
    with pytest.raises(Held):
        table(ROUTER, keys=False).protect(HOA, HA, UPDATE)


def test_strangers_are_heard_in_clear_unless_a_policy_blocks() -> None:
    agent = table(AGENT)
    assert agent.admits(STRANGER, HA, UPDATE)
    assert agent.protect(HA, STRANGER, UPDATE) == UPDATE
    agent.put_policy(block_policy(IPv6Network("2001:db8:66::/64")))
    assert not agent.admits(STRANGER, HA, UPDATE)
    agent.remove_policy(block_policy(IPv6Network("2001:db8:66::/64")))
    assert agent.admits(STRANGER, HA, UPDATE)


def counter(database: SecurityTable, source: IPv6Address, packet: bytes) -> str:
    with pytest.raises(EspError) as refused:
        database.unprotect(source, HA, packet)
    return refused.value.counter


def test_keys_of_one_are_not_those_of_another() -> None:
    agent = table(AGENT)
    packet = table(ROUTER).protect(HOA, HA, UPDATE)
    assert counter(agent, STRANGER, packet) == "esp_mismatch"
    assert counter(agent, HOA, b"\0\0\x11\x11" + packet[4:]) == "esp_unknown"
    assert counter(agent, HOA, packet[:3]) == "esp_malformed"
    key = next(iter(agent.associations()))
    inner = EspTransport(next(a for a in agent.associations() if a.destination == HA))
    assert key.reqid
    assert counter(agent, HOA, inner.seal(b"\x60" * 40, 41)) == "esp_mismatch"
    assert counter(agent, HOA, inner.seal(b"", MOBILITY_HEADER)) == "esp_mismatch"


def test_without_its_policy_an_association_is_nothing() -> None:
    agent = table(AGENT)
    packet = table(ROUTER).protect(HOA, HA, UPDATE)
    for policy in agent.policies():
        agent.remove_policy(policy)
    assert counter(agent, HOA, packet) == "esp_mismatch"


def test_counters_are_those_of_what_passed() -> None:
    router, agent = table(ROUTER), table(AGENT)
    for _ in range(3):
        agent.unprotect(HOA, HA, router.protect(HOA, HA, UPDATE))
    with pytest.raises(EspError):
        agent.unprotect(HOA, HA, router.protect(HOA, HA, UPDATE)[:-1] + b"x")
    for held, packets in ((router, 4), (agent, 3)):
        carried = {one.usage.packets: one.usage.bytes for one in held.installed()}
        assert carried == {0: 0, packets: packets * len(UPDATE)}
        (used,) = (one for one in held.installed() if one.usage.packets)
        assert held.read(HA, used.association.spi) == used
        assert held.read(HOA, used.association.spi) is None


def test_removed_keys_are_gone() -> None:
    router = table(ROUTER)
    for one in router.associations():
        router.remove_association(one)
    assert router.associations() == []
    with pytest.raises(Held):
        router.protect(HOA, HA, UPDATE)
    router = table(ROUTER)
    router.clear()
    assert (router.associations(), router.policies()) == ([], [])
    assert router.protect(HOA, HA, UPDATE) == UPDATE


def test_tunnels_are_refused_with_a_reason() -> None:
    made = SecurityTable()
    tunnel = Protection(payload=Form.INSIDE)
    wanted = [
        policy
        for policy in policies(BUS, tunnel, ROUTER, Whereabouts.UNKNOWN)
        if policy.template is not None and policy.template.outer is not None
    ]
    assert wanted
    with pytest.raises(NotPossible, match="kernel"):
        made.put_policy(wanted[0])
    encapsulated = replace(SUITES[0], mode=Mode.TUNNEL, encapsulation=Encapsulation(4500, 4500))
    with pytest.raises(NotPossible, match="transport mode"):
        made.add_association(encapsulated)
