# SPDX-License-Identifier: GPL-2.0-only
"""scapy's ESP, which the kernel's is tested with as well, and ours read each other."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from dsmip.ipsec.association import MOBILITY_HEADER, Association, Cipher, Integrity, Mode
from dsmip.ipsec.esp import EspTransport
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation

HOA, HA = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
UPDATE = bytes.fromhex("3b010500123400010000000000000000")
SUITES = {
    (Cipher.AES_CBC, Integrity.HMAC_SHA2_256_128, 32): ("AES-CBC", "SHA2-256-128"),
    (Cipher.AES_CBC, Integrity.HMAC_SHA2_256_128, 16): ("AES-CBC", "SHA2-256-128"),
    (Cipher.AES_CBC, Integrity.HMAC_SHA1_96, 16): ("AES-CBC", "HMAC-SHA1-96"),
    (Cipher.AES_CBC, Integrity.HMAC_SHA2_512_256, 24): ("AES-CBC", "SHA2-512-256"),
    (Cipher.NULL, Integrity.HMAC_SHA2_384_192, 0): ("NULL", "SHA2-384-192"),
    (Cipher.AES_GCM_16, Integrity.NONE, 36): ("AES-GCM", "NULL"),
    (Cipher.CHACHA20_POLY1305, Integrity.NONE, 36): ("CHACHA20-POLY1305", "NULL"),
}


@pytest.mark.parametrize("suite", SUITES, ids=str)
def test_each_reads_the_other(suite: tuple[Cipher, Integrity, int]) -> None:
    cipher, integrity, size = suite
    crypt, auth = SUITES[suite]
    key, secret = bytes(range(size)), bytes(range(integrity.key_size))
    ours = Association(
        HOA, HA, 0x1234, key, secret, None, Mode.TRANSPORT, 1, cipher=cipher, integrity=integrity
    )
    theirs = SecurityAssociation(
        ESP, spi=0x1234, crypt_algo=crypt, crypt_key=key, auth_algo=auth, auth_key=secret
    )
    head = {"src": str(HOA), "dst": str(HA)}
    wire = EspTransport(ours).seal(UPDATE, MOBILITY_HEADER)
    read = theirs.decrypt(IPv6(bytes(IPv6(**head, nh=50) / wire)))
    assert (read.nh, bytes(read.payload)) == (MOBILITY_HEADER, UPDATE)
    plain = IPv6(bytes(IPv6(**head, nh=MOBILITY_HEADER) / UPDATE))
    written = bytes(theirs.encrypt(plain, seq_num=1))
    assert EspTransport(ours).open(written[40:]) == (MOBILITY_HEADER, UPDATE)
