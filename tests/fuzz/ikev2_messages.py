# SPDX-License-Identifier: GPL-2.0-only
"""Arbitrary IKEv2 payloads, for Hypothesis."""

from __future__ import annotations

from dsmip.ikev2 import payloads as pl
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.message import Header
from dsmip.ikev2.proposals import Proposal, Transform
from dsmip.ikev2.selectors import TrafficSelector
from hypothesis import strategies as st

from tests.fuzz.messages import u8, u16, u32, v4, v6

KNOWN = frozenset(pl.BY_TYPE) | {0, 46, 53}


def octets(least: int, most: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=least, max_size=most)


def attribute(name: int, value: bytes) -> bytes:
    """Return a transform attribute in the long format."""
    return (name & 0x7FFF).to_bytes(2) + len(value).to_bytes(2) + value


other_attributes = st.lists(st.builds(attribute, u16, octets(0, 8)), max_size=2).map(b"".join)
transforms = st.builds(Transform, u8, u16, st.none() | u16, other_attributes)
ike_proposals = st.builds(
    Proposal,
    u8,
    st.just(1),
    st.sampled_from((b"", b"12345678")),
    st.lists(transforms, max_size=6).map(tuple),
)
child_proposals = st.builds(
    Proposal, u8, st.sampled_from((2, 3)), octets(4, 4), st.lists(transforms, max_size=6).map(tuple)
)
other_proposals = st.builds(
    Proposal,
    u8,
    st.integers(4, 255),
    octets(0, 20),
    st.lists(transforms, max_size=2).map(tuple),
)
proposals = ike_proposals | child_proposals | other_proposals


def selector_of(addresses: st.SearchStrategy) -> st.SearchStrategy[TrafficSelector]:
    ranges = st.lists(addresses, min_size=2, max_size=2).map(sorted)
    return st.builds(lambda p, a, b, r: TrafficSelector(p, a, b, r[0], r[1]), u8, u16, u16, ranges)


selectors = selector_of(v4) | selector_of(v6)
identities = (
    st.builds(Identity, st.sampled_from((0, 2, 3, 9, 10, 11, 12, 13, 201)), octets(0, 40))
    | st.builds(Identity.of, v4)
    | st.builds(Identity.of, v6)
)

payloads: st.SearchStrategy[pl.Payload] = st.one_of(
    st.builds(pl.SA, st.lists(proposals, min_size=1, max_size=4).map(tuple)),
    st.builds(pl.KE, u16, octets(0, 64)),
    st.builds(pl.Nonce, octets(16, 256)),
    st.builds(pl.IdI, identities),
    st.builds(pl.IdR, identities),
    st.builds(pl.Cert, u8, octets(1, 60)),
    st.builds(pl.CertReq, u8, octets(0, 60)),
    st.builds(pl.Auth, u8, octets(0, 64)),
    st.builds(pl.Notify, u16, octets(0, 40), u8, octets(0, 8)),
    st.builds(pl.Delete, st.just(1)),
    st.builds(pl.Delete, st.sampled_from((2, 3)), st.lists(octets(4, 4), max_size=4).map(tuple)),
    st.builds(pl.VendorId, octets(0, 40)),
    st.builds(pl.TSi, st.lists(selectors, max_size=4).map(tuple)),
    st.builds(pl.TSr, st.lists(selectors, max_size=4).map(tuple)),
    st.builds(
        pl.Configuration,
        u8,
        st.lists(st.builds(pl.Attribute, st.integers(0, 0x7FFF), octets(0, 24)), max_size=4).map(
            tuple
        ),
    ),
    st.builds(
        lambda head, data: pl.Eap(head + (4 + len(data)).to_bytes(2) + data),
        octets(2, 2),
        octets(0, 40),
    ),
    st.builds(pl.Unknown, u8.filter(lambda kind: kind not in KNOWN), octets(0, 40)),
)
payload_lists = st.lists(payloads, max_size=5)
headers = st.builds(
    Header, octets(8, 8).filter(any), octets(8, 8), u8, u8, u32, st.just(0), st.just(0)
)
