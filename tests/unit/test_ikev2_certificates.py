# SPDX-License-Identifier: GPL-2.0-only
"""Which certificates are believed, and why the others are not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from dsmip.ikev2.certificates import (
    Certificate,
    Name,
    NameKind,
    expires_at,
)
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.issuing import YEAR, issue
from dsmip.ikev2.signatures import (
    AuthenticationFailed,
    KeyKind,
)
from dsmip.ikev2.trust import (
    CHECKS_MAX,
    SENT_MAX,
    TLS_CLIENT_USAGES,
    TLS_SERVER_USAGES,
    Trust,
)

from tests.unit.authorities import (
    AT,
    BUS,
    CA_FLAG,
    ROOT,
    ROOT_KEY,
    RSA_ROOT,
    RSA_ROOT_KEY,
    SAN,
    TRUST,
    authority,
    believe,
    forge,
    key,
    key_usage,
    leaf,
    refuse,
    self_made,
    with_sha1,
)

# --- chains -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyKind.P256, KeyKind.P384, KeyKind.P521, KeyKind.ED25519])
def test_certificate_below_an_anchor(kind: KeyKind) -> None:
    verified = believe([leaf(BUS, kind=kind)])
    assert verified.path[-1] == ROOT
    assert verified.expires == AT + YEAR
    assert verified.certificate.public == key(BUS, kind).public


def test_rsa_certificate() -> None:
    assert believe([leaf(BUS, kind=KeyKind.RSA2048)])


def test_intermediates_in_any_order_and_with_the_root() -> None:
    one, one_key = authority("One", ROOT, ROOT_KEY)
    two, two_key = authority("Two", one, one_key)
    own = leaf(BUS, two, two_key)
    for sent in ([own, two, one], [own, one, two], [own, one, ROOT, two], [own, two, two, one]):
        assert believe(sent).path == (own, two, one, ROOT)
    refuse([own, two], "no trusted authority has issued CN=Two")
    refuse([own], "no trusted authority has issued CN=bus-17")
    assert believe([own, two], trust=replace(TRUST, intermediates=(one,)))


def test_unrelated_and_unreadable_certificates_do_no_harm() -> None:
    other, other_key = authority("Other")
    assert believe([leaf(BUS), leaf("tram-3", other, other_key), b"junk"])


def test_no_certificate_and_too_many() -> None:
    refuse([], "no certificate")
    refuse([leaf(BUS)] + [ROOT] * SENT_MAX, f"{SENT_MAX + 1} certificates")


def test_untrusted_root_is_refused_though_it_is_sent() -> None:
    other, other_key = authority("Other")
    refuse([leaf(BUS, other, other_key), other], "no trusted authority has issued CN=Other")


def test_namesake_of_the_root_has_another_key() -> None:
    fake_key = key("Fake")
    fake = issue(fake_key.public, fake_key, subject="CN=Root", at=AT, ca=True)
    refuse([leaf(BUS, fake, fake_key), fake], "CN=Root has not signed")


def test_both_keys_of_a_renamed_root_are_tried() -> None:
    old_key = key("Old")
    old = issue(old_key.public, old_key, subject="CN=Root", at=AT, ca=True)
    both = Trust(anchors=(old, ROOT))
    assert believe([leaf(BUS)], trust=both).path[-1] == ROOT
    assert believe([leaf(BUS, old, old_key)], trust=both).path[-1] == old


def test_cross_certificate_saves_a_path() -> None:
    """An expired intermediate beside a good one of the same name and key."""
    one, one_key = authority("One", ROOT, ROOT_KEY)
    stale, _ = authority("One", ROOT, ROOT_KEY, at=AT - YEAR, lifetime=YEAR / 2)
    own = leaf(BUS, one, one_key)
    assert believe([own, stale, one]).path == (own, one, ROOT)
    refuse([own, stale], "CN=One has expired")


def test_cross_certificates_cannot_make_us_work_for_ever() -> None:
    authorities = [authority(f"C{number % 2}", ca=True) for number in range(2)]
    crossed = [
        Certificate.wrap(
            forge(
                authorities[number % 2][1],
                authorities[1 - number % 2][1],
                f"CN=C{1 - number % 2}",
                f"CN=C{number % 2}",
                [CA_FLAG],
            )
        )
        for number in range(SENT_MAX - 1)
    ]
    own = leaf(BUS, *authorities[0])
    refuse([own, *crossed], "too many|signature checks|no trusted")
    assert CHECKS_MAX < 100


def test_octets_that_are_no_certificate() -> None:
    refuse([b""], "malformed")
    refuse([leaf(BUS).der[:-1]], "malformed")
    refuse([leaf(BUS).der + b"\0"], "malformed")


def test_flipped_bit_in_a_certificate() -> None:
    octets = bytearray(leaf(BUS).der)
    octets[-1] ^= 1
    refuse([bytes(octets)], "has not signed|malformed")


# --- time ---------------------------------------------------------------------------


def test_expired_and_not_yet_valid() -> None:
    refuse([leaf(BUS, at=AT - YEAR - 1, lifetime=YEAR)], "CN=bus-17.* has expired")
    refuse([leaf(BUS, at=AT + 86400)], "is not valid yet")
    assert believe([leaf(BUS, at=AT - YEAR, lifetime=YEAR)])


def test_expired_authorities() -> None:
    stale, stale_key = authority("Stale", at=AT - 2 * YEAR, lifetime=YEAR)
    own = leaf(BUS, at=AT)
    assert own.not_after > AT
    below = Certificate.wrap(forge(key(BUS), stale_key, "CN=Stale", f"CN={BUS}", [SAN]))
    refuse([below], "CN=Stale has expired", trust=Trust(anchors=(stale,)))


def test_a_certificate_never_outlives_its_authority() -> None:
    short, short_key = authority("Short", lifetime=86400.0)
    assert leaf(BUS, short, short_key).not_after == short.not_after


def test_expiry_of_a_path_is_that_of_its_first_to_expire() -> None:
    one, one_key = authority("One", ROOT, ROOT_KEY, lifetime=86400.0)
    own = leaf(BUS, one, one_key)
    assert believe([own, one]).expires == AT + 86400
    assert expires_at((own, ROOT)) == own.not_after


# --- whose certificate it is --------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "bus-17",
        "bus-17.example.net",
        "fleet@example.net",
        "2001:db8::17",
        "198.51.100.17",
    ],
)
def test_identity_is_in_subject_alt_name(name: str) -> None:
    """I-022; RFC 4945 section 3.1."""
    certificate = leaf(name)
    believe([certificate], name)
    refuse([certificate], "is not for", "tram-3")
    assert Identity.parse(name) in certificate.identities()


def test_home_address_as_identity_must_be_the_one_certified() -> None:
    refuse([leaf("2001:db8::17")], "is not for 2001:db8::18", "2001:db8::18")
    refuse([leaf("198.51.100.17")], "is not for", "fqdn:198.51.100.17")


def test_names_are_compared_without_case() -> None:
    believe([leaf(BUS)], BUS.upper())
    believe([leaf("fleet@example.net")], "fleet@EXAMPLE.net")
    refuse([leaf("fleet@example.net")], "is not for", "Fleet@example.net")


def test_distinguished_name_is_the_subject() -> None:
    believe([leaf(BUS)], f"dn:CN={BUS},O=Fleet")
    believe([leaf(BUS)], f"dn:cn={BUS.upper()},o=FLEET")
    refuse([leaf(BUS)], "is not for", f"dn:CN={BUS}")
    refuse([leaf(BUS)], "is not for", f"dn:O=Fleet,CN={BUS}")


def test_common_name_is_no_domain_name() -> None:
    certificate = leaf(BUS, identities=[])
    refuse([certificate], "is not for")
    believe([certificate], f"dn:CN={BUS},O=Fleet")


@pytest.mark.parametrize("identity", ["keyid:bus-17.example.net", "gn:0x820362", "null:"])
def test_identities_that_no_certificate_can_prove(identity: str) -> None:
    refuse([leaf(BUS)], "is not for", identity)


def test_wildcards_match_nothing() -> None:
    wild = forge(
        key(BUS),
        ROOT_KEY,
        "CN=Root",
        "CN=wild",
        [(x509.SubjectAlternativeName([x509.DNSName("*.example.net")]), False)],
    )
    refuse([Certificate.wrap(wild)], "is not for")
    refuse([Certificate.wrap(wild)], "is not for", "fqdn:*.example.net")


def test_identity_that_is_not_asked_for() -> None:
    assert believe([leaf(BUS)], None).certificate.identities()[0] == Identity.parse(BUS)


# --- extensions ---------------------------------------------------------------------


def below(extensions: list[tuple[x509.ExtensionType, bool]]) -> list[Certificate]:
    """A chain whose intermediate has these extensions."""
    middle = forge(key("Middle"), ROOT_KEY, "CN=Root", "CN=Middle", extensions)
    own = forge(key(BUS), key("Middle"), "CN=Middle", f"CN={BUS}", [SAN])
    return [Certificate.wrap(own), Certificate.wrap(middle)]


def test_authority_needs_the_flag() -> None:
    assert believe(below([CA_FLAG]))
    refuse(below([]), "CN=Middle is no certification authority")
    refuse(below([(x509.BasicConstraints(False, None), True)]), "is no certification authority")


def test_a_router_cannot_issue_for_another() -> None:
    """Its certificate is good, but it is no authority."""
    mine = leaf("tram-3")
    other = forge(key(BUS), key("tram-3"), "CN=tram-3,O=Fleet", f"CN={BUS}", [SAN])
    refuse([Certificate.wrap(other), mine], "is no certification authority")


def test_key_usage_of_authorities() -> None:
    assert believe(below([CA_FLAG, key_usage(key_cert_sign=True)]))
    refuse(below([CA_FLAG, key_usage(digital_signature=True)]), "not for certificates")


def test_key_usage_of_the_peer() -> None:
    def own(**more: bool) -> list[Certificate]:
        usage = key_usage(**more)
        return [Certificate.wrap(forge(key(BUS), ROOT_KEY, "CN=Root", "CN=b", [SAN, usage]))]

    assert believe(own(digital_signature=True))
    assert believe(own(content_commitment=True))
    refuse(own(key_encipherment=True), "not for signatures")


@pytest.mark.parametrize(("limit", "good"), [(None, True), (2, True), (1, True), (0, False)])
def test_path_length(limit: int | None, good: bool) -> None:
    top, top_key = authority("Top", path_length=limit)
    one, one_key = authority("One", top, top_key)
    own = leaf(BUS, one, one_key)
    trust = Trust(anchors=(top,))
    if good:
        assert believe([own, one], trust=trust)
    else:
        refuse([own, one], "allows 0 authorities below, not 1", trust=trust)


def test_path_length_of_an_intermediate() -> None:
    one, one_key = authority("One", ROOT, ROOT_KEY, path_length=0)
    two, two_key = authority("Two", one, one_key)
    assert believe([leaf(BUS, one, one_key), one])
    refuse([leaf(BUS, two, two_key), two, one], "CN=One allows 0")


def test_paths_end_somewhere() -> None:
    chain = [ROOT]
    signer = ROOT_KEY
    for number in range(8):
        certificate, signer = authority(f"L{number}", chain[0], signer)
        chain.insert(0, certificate)
    refuse([leaf(BUS, chain[0], signer), *chain], "no trusted authority")


def test_extended_usage() -> None:
    server = leaf(BUS, usages=("1.3.6.1.5.5.7.3.1",))
    mail = leaf(BUS, usages=("1.3.6.1.5.5.7.3.4",))
    believe([server])
    believe([leaf(BUS, usages=None)])
    believe([leaf(BUS, usages=("2.5.29.37.0",))])
    believe([leaf(BUS, usages=("1.3.6.1.5.5.8.2.2",))])
    refuse([mail], "not for this usage")
    TRUST.verify([server.der], AT, None, TLS_SERVER_USAGES)
    with pytest.raises(AuthenticationFailed, match="not for this usage"):
        TRUST.verify([server.der], AT, None, TLS_CLIENT_USAGES)


def test_extended_usage_of_an_intermediate_limits_what_is_below() -> None:
    mail = x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.4")])
    refuse(below([CA_FLAG, (mail, False)]), "CN=Middle is not for this usage")


def test_unknown_critical_extension() -> None:
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0")

    def own(critical: bool) -> list[Certificate]:
        extensions = [SAN, (strange, critical)]
        return [Certificate.wrap(forge(key(BUS), ROOT_KEY, "CN=Root", "CN=b", extensions))]

    assert believe(own(False))
    refuse(own(True), r"unknown critical extension 1\.3\.6\.1\.4\.1\.99999\.1")
    refuse(below([CA_FLAG, (strange, True)]), "CN=Middle has the unknown critical extension")


def test_policy_constraints_that_nobody_evaluates_are_refused_when_critical() -> None:
    demand = (x509.PolicyConstraints(0, None), True)
    refuse(below([CA_FLAG, demand]), "unknown critical extension 2.5.29.36")


def test_malformed_extension() -> None:
    bad = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x03\x82\x05a")
    refuse(
        [forge(key(BUS), ROOT_KEY, "CN=Root", "CN=b", [(bad, False)]).public_bytes(Encoding.DER)],
        "malformed",
    )


# --- signatures and keys ------------------------------------------------------------


def test_sha1_is_refused() -> None:
    own = leaf(BUS, RSA_ROOT, RSA_ROOT_KEY)
    trust = Trust(anchors=(RSA_ROOT,))
    believe([own], trust=trust)
    refuse([with_sha1(own.der)], "is signed with sha1", trust=trust)


def test_sha3_is_refused_for_lack_of_a_rule() -> None:
    new = forge(key(BUS), ROOT_KEY, "CN=Root", f"CN={BUS}", [SAN], hashes.SHA3_256())
    refuse([Certificate.wrap(new)], "is signed with")


@pytest.mark.parametrize("digest", [hashes.SHA384(), hashes.SHA512()])
def test_other_members_of_sha2(digest: hashes.HashAlgorithm) -> None:
    made = forge(key(BUS), ROOT_KEY, "CN=Root", f"CN={BUS}", [SAN], digest)
    assert believe([Certificate.wrap(made)])


def test_weak_rsa_is_refused() -> None:
    refuse([self_made(rsa.generate_private_key(65537, 1024))], "RSA key of 1024 bits")


def test_other_curves_are_refused() -> None:
    refuse([self_made(ec.generate_private_key(ec.SECP256K1()))], "secp256k1")


# --- pinned certificates ------------------------------------------------------------


def self_signed(**more: float) -> Certificate:
    own = key(BUS)
    return issue(
        own.public,
        own,
        subject=f"CN={BUS}",
        identities=[Identity.parse(BUS)],
        **({"at": AT} | more),  # type: ignore[arg-type]
    )


def test_self_signed_only_when_pinned() -> None:
    own = self_signed()
    refuse([own], "no trusted authority has issued")
    refuse([own], "no trusted authority has issued", trust=Trust(anchors=(own,)))
    pinned = Trust(pinned=(own,))
    assert believe([own], trust=pinned).path == (own,)
    refuse([self_signed()], "no trusted authority", trust=pinned)
    refuse([own], "is not for tram-3", "tram-3", trust=pinned)


def test_pinned_certificates_expire_too() -> None:
    old = self_signed(at=AT - 2 * YEAR)
    refuse([old], "has expired", trust=Trust(pinned=(old,)))


# --- name constraints ---------------------------------------------------------------


def constrained(
    name: str, permitted: Sequence[Name] = (), excluded: Sequence[Name] = (), **more: object
) -> list[Certificate]:
    middle, middle_key = authority(
        "Limited", ROOT, ROOT_KEY, permitted=permitted, excluded=excluded
    )
    return [leaf(name, middle, middle_key, **more), middle]


DNS = Name(NameKind.DNS, "example.net")


@pytest.mark.parametrize(
    ("name", "permitted", "good"),
    [
        ("bus-17.example.net", DNS, True),
        ("example.net", DNS, True),
        ("a.b.example.net", DNS, True),
        ("bus-17.example.org", DNS, False),
        ("badexample.net", DNS, False),
        ("example.net.evil.org", DNS, False),
        ("fleet@example.net", Name(NameKind.EMAIL, "example.net"), True),
        ("fleet@bus.example.net", Name(NameKind.EMAIL, "example.net"), False),
        ("fleet@bus.example.net", Name(NameKind.EMAIL, ".example.net"), True),
        ("fleet@example.net", Name(NameKind.EMAIL, "fleet@example.net"), True),
        ("other@example.net", Name(NameKind.EMAIL, "fleet@example.net"), False),
        ("2001:db8::17", Name(NameKind.ADDRESS, ip_network("2001:db8::/32")), True),
        ("2001:db9::17", Name(NameKind.ADDRESS, ip_network("2001:db8::/32")), False),
        ("198.51.100.17", Name(NameKind.ADDRESS, ip_network("2001:db8::/32")), False),
        ("198.51.100.17", Name(NameKind.ADDRESS, ip_network("198.51.100.0/24")), True),
        # A constraint of another kind says nothing of these.
        ("fleet@example.org", DNS, True),
        ("2001:db9::17", DNS, True),
    ],
)
def test_permitted_names(name: str, permitted: Name, good: bool) -> None:
    chain = constrained(name, [permitted])
    if good:
        believe(chain, name)
    else:
        refuse(chain, "name constraints of CN=Limited forbid", name)
    # The same subtree, excluded: the other way round, where it is of that kind.
    chain = constrained(name, [], [permitted])
    kinds = {found.kind for found in chain[0].extensions.names}
    if good and permitted.kind in kinds:
        refuse(chain, "forbid", name)
    else:
        believe(chain, name)


def test_excluded_beats_permitted() -> None:
    chain = constrained(BUS, [DNS], [Name(NameKind.DNS, BUS)])
    refuse(chain, f"forbid '{BUS}'")


@pytest.mark.parametrize(
    ("subtree", "good"),
    [("O=Fleet", True), ("O=FLEET", True), ("O=Other", False), (f"CN={BUS},O=Fleet", True)],
)
def test_directory_names(subtree: str, good: bool) -> None:
    chain = constrained(BUS, [Name(NameKind.DIRECTORY, subtree)])
    if good:
        believe(chain)
    else:
        refuse(chain, "forbid 'CN=bus-17")


def test_mail_address_in_the_subject_counts_when_no_other_is_there() -> None:
    subject = f"emailAddress=fleet@example.org,CN={BUS}".replace(
        "emailAddress", "1.2.840.113549.1.9.1"
    )
    chain = constrained(BUS, [Name(NameKind.EMAIL, "example.net")], subject=subject)
    refuse(chain, "forbid 'fleet@example.org'")


def test_uris() -> None:
    def chain(uri: str) -> list[Certificate]:
        middle, middle_key = authority(
            "Limited", ROOT, ROOT_KEY, permitted=[Name(NameKind.URI, ".example.net")]
        )
        names = x509.SubjectAlternativeName(
            [x509.DNSName(BUS), x509.UniformResourceIdentifier(uri)]
        )
        own = forge(key(BUS), middle_key, "CN=Limited", "CN=b", [(names, False)])
        return [Certificate.wrap(own), middle]

    assert believe(chain("https://a@host.example.net:80/x"))
    refuse(chain("https://host.example.org/"), "forbid")
    refuse(chain("urn:x"), "has no host")


def test_names_that_cannot_be_compared_are_refused_where_they_are_limited() -> None:
    other = x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01a")
    limits = x509.NameConstraints([other], None)
    middle = forge(key("Middle"), ROOT_KEY, "CN=Root", "CN=Middle", [CA_FLAG, (limits, True)])
    names = x509.SubjectAlternativeName([x509.DNSName(BUS), other])
    own = forge(key(BUS), key("Middle"), "CN=Middle", "CN=b", [(names, False)])
    refuse([Certificate.wrap(own), Certificate.wrap(middle)], "cannot be compared")


def test_constraints_reach_below_intermediates() -> None:
    top, top_key = authority("Limited", ROOT, ROOT_KEY, permitted=[DNS])
    one, one_key = authority("One", top, top_key)
    assert believe([leaf(BUS, one, one_key), one, top])
    refuse([leaf("bus.example.org", one, one_key), one, top], "Limited forbid", "bus.example.org")


def test_constraints_of_the_anchor_count() -> None:
    top, top_key = authority("Top", permitted=[DNS])
    refuse([leaf("x.org", top, top_key)], "forbid", "x.org", trust=Trust(anchors=(top,)))


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_broken_certificates_never_raise_anything_else() -> None:
    draw = random.Random(5280)
    one, one_key = authority("Limited", ROOT, ROOT_KEY, permitted=[DNS])
    chain = [leaf(BUS, one, one_key).der, one.der]
    for _ in range(1500):
        broken = [bytearray(octets) for octets in chain]
        target = draw.choice(broken)
        for _ in range(draw.randrange(1, 4)):
            target[draw.randrange(len(target))] = draw.randrange(256)
        try:
            TRUST.verify([bytes(octets) for octets in broken], AT, Identity.parse(BUS))
        except AuthenticationFailed:
            continue
        # Only a bit that nothing depends on may be changed: both signatures hold.
        assert [bytes(octets) for octets in broken] == chain
