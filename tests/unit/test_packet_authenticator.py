# SPDX-License-Identifier: GPL-2.0-only
"""Return routability and RFC 4285: worked numbers, and that every change is noticed."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import IPv6Address

import pytest
from dsmip.packet import authenticator as auth
from dsmip.packet.mobility import BindingAcknowledgement, BindingUpdate, build, parse
from dsmip.packet.options import (
    AlternateCareOfAddress,
    MobileNodeIdentifier,
    MobilityMessageAuthentication,
    NonceIndices,
    UnknownOption,
    find_all,
)

NODE_KEY = bytes(range(20))
NONCE = bytes.fromhex("a0a1a2a3a4a5a6a7")
HOME = IPv6Address("2001:db8:1::100")
CARE_OF = IPv6Address("2001:db8:2::200")
CORRESPONDENT = IPv6Address("2001:db8:3::300")
AGENT = IPv6Address("2001:db8:1::1")
KEY = bytes.fromhex("5c7fe8135f706b7851f3cb16f678a4fb52ef259a")
UPDATE = BindingUpdate(0x1234, 105, acknowledge=True, options=(NonceIndices(7, 8),))
WIRE = bytes.fromhex("3b030500b982123480000069040400070008050ca7341b3e382ab192fbc762a8")


def test_tokens_and_keys() -> None:
    home = auth.home_keygen_token(NODE_KEY, HOME, NONCE)
    care_of = auth.care_of_keygen_token(NODE_KEY, CARE_OF, NONCE)
    assert home.hex() == "a0e8498e964263cb"
    assert care_of.hex() == "0896b90d956f67b0"
    assert auth.binding_key(home, care_of) == KEY
    assert auth.binding_key(home).hex() == "1335de3bbdcb6868257f8153e205af093225ae1f"
    # The same address gives different tokens for the two roles.
    assert auth.care_of_keygen_token(NODE_KEY, HOME, NONCE) != home


def test_authorized_update() -> None:
    message = auth.authorize(UPDATE, KEY, CARE_OF, CORRESPONDENT)
    assert build(message, HOME, CORRESPONDENT) == WIRE
    assert parse(WIRE) == message
    assert auth.authorized(WIRE, KEY, CARE_OF, CORRESPONDENT)
    assert auth.authorized(WIRE + b"after", KEY, CARE_OF, CORRESPONDENT)


def test_authorized_acknowledgement() -> None:
    for options in ((), (UnknownOption(200, b"x" * 5),)):
        message = BindingAcknowledgement(0, 0x1234, 105, options=options)
        wire = build(auth.authorize(message, KEY, CARE_OF, CORRESPONDENT), CORRESPONDENT, HOME)
        assert auth.authorized(wire, KEY, CARE_OF, CORRESPONDENT)


def test_every_octet_is_covered_but_the_checksum() -> None:
    for at in range(len(WIRE)):
        changed = bytearray(WIRE)
        changed[at] ^= 1
        if at == 1:  # Header Len: another message altogether
            continue
        good = auth.authorized(bytes(changed), KEY, CARE_OF, CORRESPONDENT)
        assert good == (at in (4, 5)), at


def test_wrong_inputs_are_noticed() -> None:
    assert not auth.authorized(WIRE, KEY[::-1], CARE_OF, CORRESPONDENT)
    assert not auth.authorized(WIRE, KEY, HOME, CORRESPONDENT)
    assert not auth.authorized(WIRE, KEY, CARE_OF, AGENT)


@pytest.mark.spec("M-010")
def test_padding_after_the_authenticator_is_refused() -> None:
    wire = bytearray(build(auth.authorize(UPDATE, KEY, CARE_OF, CORRESPONDENT)))
    wire[1] += 1
    wire += b"\1\6" + bytes(6)
    assert parse(bytes(wire))
    assert not auth.authorized(bytes(wire), KEY, CARE_OF, CORRESPONDENT)


def test_authenticator_outside_its_option_is_refused() -> None:
    """The right 12 octets at the end of another option count for nothing."""
    data = build(BindingUpdate(1, 2, options=(NonceIndices(7, 8), UnknownOption(200, bytes(12)))))
    covered = CARE_OF.packed + CORRESPONDENT.packed + data[:-12]
    wire = data[:-12] + hmac.new(KEY, covered, hashlib.sha1).digest()[:12]
    assert parse(wire)
    assert not auth.authorized(wire, KEY, CARE_OF, CORRESPONDENT)


def test_message_without_authenticator() -> None:
    assert not auth.authorized(build(UPDATE), KEY, CARE_OF, CORRESPONDENT)
    assert not auth.authorized(build(BindingUpdate(1, 2)), KEY, CARE_OF, CORRESPONDENT)


# --- RFC 4285 ----------------------------------------------------------------------

SHARED = bytes(range(16))
NAI = MobileNodeIdentifier(b"bus-17@fleet.example")


def by_hand(wire: bytes, spi_end: int) -> bytes:
    """The formula of RFC 4285 section 5.1 on octets counted by hand."""
    covered = CARE_OF.packed + HOME.packed + wire[:4] + b"\0\0" + wire[6:spi_end]
    return hmac.new(SHARED, covered, hashlib.sha1).digest()[:12]


def test_mn_ha_authentication() -> None:
    message = BindingUpdate(
        5, 100, acknowledge=True, home=True, options=(NAI, auth.unsigned(auth.MN_HA, 256))
    )
    message = auth.sign(message, auth.MN_HA, SHARED, CARE_OF, HOME)
    wire = build(message, HOME, AGENT)
    assert parse(wire) == message
    # 12 fixed, 23 of the identifier, PadN(2): the option at 37 = 4n+1, its SPI to 44.
    assert wire[37] == MobilityMessageAuthentication.TYPE
    assert wire[40:44] == (256).to_bytes(4, "big")
    assert wire[44:56] == by_hand(wire, 44)
    assert auth.signed(wire, auth.MN_HA, SHARED, CARE_OF, HOME)
    assert not auth.signed(wire, auth.MN_HA, SHARED[::-1], CARE_OF, HOME)
    assert not auth.signed(wire, auth.MN_HA, SHARED, HOME, HOME)
    assert not auth.signed(wire, auth.MN_AAA, SHARED, CARE_OF, HOME)
    for at in [*range(4), *range(6, 56)]:
        if at in (1, 13):  # lengths: another message altogether
            continue
        changed = bytearray(wire)
        changed[at] ^= 0x80
        assert not auth.signed(bytes(changed), auth.MN_HA, SHARED, CARE_OF, HOME), at


def test_both_authentications() -> None:
    message = BindingUpdate(
        5,
        100,
        options=(
            AlternateCareOfAddress(CARE_OF),
            NAI,
            auth.unsigned(auth.MN_HA, 256),
            auth.unsigned(auth.MN_AAA, auth.SPI_HMAC_SHA1),
        ),
    )
    message = auth.sign(message, auth.MN_HA, SHARED, CARE_OF, HOME)
    message = auth.sign(message, auth.MN_AAA, NODE_KEY, CARE_OF, HOME)
    wire = build(message, HOME, AGENT)
    assert auth.signed(wire, auth.MN_HA, SHARED, CARE_OF, HOME)
    assert auth.signed(wire, auth.MN_AAA, NODE_KEY, CARE_OF, HOME)
    options = find_all(message.options, MobilityMessageAuthentication)
    start = wire.index(options[1].data)
    covered = CARE_OF.packed + HOME.packed + wire[:4] + b"\0\0" + wire[6:start]
    expected = hmac.new(NODE_KEY, hashlib.sha1(covered).digest(), hashlib.sha1).digest()
    assert options[1].data == expected


def test_nothing_to_sign() -> None:
    with pytest.raises(ValueError, match="no authentication option"):
        auth.sign(UPDATE, auth.MN_HA, SHARED, CARE_OF, HOME)
    assert not auth.signed(WIRE, auth.MN_HA, SHARED, CARE_OF, HOME)
