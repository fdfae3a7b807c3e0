# SPDX-License-Identifier: GPL-2.0-only
"""EAP that proves both ends, without a signature of the responder before it (RFC 5998)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dsmip.ikev2.eap import EapClient, LocalEap
from dsmip.ikev2.eap_tls import TlsClient, TlsCredential, TlsServer
from dsmip.ikev2.effects import IkeUp
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.numbers import NotifyType, PayloadType
from dsmip.service.config import parse
from dsmip.service.options import ConfigError

from tests.unit.authorities import TRUST, key, leaf
from tests.unit.ikepair import Pair, connection, counterpart
from tests.unit.test_config import changed
from tests.unit.test_ike_config import IKE_ROUTER
from tests.unit.test_ikev2_credentials import HA, MR, VERIFIER, refused, signer


def by_tls(mine: bool = True, theirs: bool = True, server: str = HA, **changes: Any) -> Pair:
    """Both ends with EAP-TLS; ``mine`` and ``theirs`` say who wants nothing else."""
    shown = TlsCredential(key(server), (leaf(server),), TRUST)
    client = TlsCredential(key(MR), (leaf(MR),), TRUST)
    backend = LocalEap(lambda peer, at: [TlsServer(shown, Identity.parse(peer.identity), at)])
    own = EapClient(MR, (TlsClient(client, Identity.parse(HA)),))
    mobile = connection(own=own, peer=(VERIFIER,), eap_only=mine, **changes)
    return Pair(mobile, counterpart(mobile, own=signer(HA), peer=(backend,), eap_only=theirs))


def kinds(pair: Pair, sender: str, number: int) -> list[int]:
    """The payloads of a message of IKE_AUTH, by its number among those of a host."""
    found = [p for p in pair.history if p.sender == sender and p.exchange == 35]
    return [payload.TYPE for payload in pair.peek(found[number])]


def test_no_signature_and_no_certificate_goes_before() -> None:
    pair = by_tls(fragmentation=False).up()
    pair.check()
    first = kinds(pair, "b", 0)
    assert PayloadType.IDR in first
    assert PayloadType.EAP in first
    assert not {PayloadType.AUTH, PayloadType.CERT} & set(first)
    assert str(pair.a.of(IkeUp)[0].peer) == HA
    assert str(pair.b.of(IkeUp)[0].peer) == MR


@pytest.mark.parametrize(("mine", "theirs"), [(True, False), (False, True), (False, False)])
def test_both_ends_must_want_it(mine: bool, theirs: bool) -> None:
    pair = by_tls(mine, theirs, fragmentation=False).up()
    pair.check()
    assert {PayloadType.AUTH, PayloadType.CERT} <= set(kinds(pair, "b", 0))
    asked = [p.type for p in _notifies(pair, "a", 0)]
    assert (NotifyType.EAP_ONLY_AUTHENTICATION in asked) is mine


def _notifies(pair: Pair, sender: str, number: int) -> list[Any]:
    found = [p for p in pair.history if p.sender == sender and p.exchange == 35]
    return [p for p in pair.peek(found[number]) if p.TYPE == PayloadType.NOTIFY]


def test_a_server_with_another_name_is_refused() -> None:
    """The certificate of TLS must be that of the identity that is wanted."""
    refused(by_tls(server="evil.example.net"))


def test_another_identity_than_the_wanted_one_is_refused() -> None:
    pair = by_tls()
    other = replace(pair.agent, local=Identity.parse("evil.example.net"))
    pair.accounts.find = lambda own, peer: other  # type: ignore[method-assign]
    refused(pair)


def test_nobody_in_particular_must_sign() -> None:
    """Without a wanted identity a certificate alone would let anybody in."""
    pair = by_tls()
    pair.mobile = replace(pair.mobile, remote=None)
    refused(pair)


def test_who_was_not_asked_to_leave_it_out_must_sign() -> None:
    pair = by_tls()
    pair.initiate()
    while not [p for p in pair.history if p.sender == "a" and p.exchange == 35]:
        pair.step()
    # From now on this end is one that never asked.
    (asking,) = pair.a.engine._core.sas.values()
    asking.connection = replace(pair.mobile, eap_only=False)
    pair.run()
    assert not pair.a.of(IkeUp)
    assert not pair.b.of(IkeUp)
    assert pair.a.counters["ike_bad_auth"] == 1


def test_the_first_answer_without_anything_is_no_proof() -> None:
    """Neither AUTH nor EAP: there is nothing that could prove it later."""
    pair = by_tls()
    pair.accounts.connections[0] = replace(pair.agent, peer=())
    refused(pair)


# --- configuration --------------------------------------------------------------------------


@pytest.mark.parametrize("auth", ["psk", "eap-mschapv2"])
def test_only_what_proves_both_ends_may_be_alone(auth: str) -> None:
    values = changed(IKE_ROUTER, "mobile_router.eap_only", True)
    values = changed(values, "mobile_router.auth", auth)
    with pytest.raises(ConfigError) as caught:
        parse(values)
    assert any(
        "eap-tls" in str(fault) and fault.option == "eap_only" for fault in caught.value.faults
    )
