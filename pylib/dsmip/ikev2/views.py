# SPDX-License-Identifier: GPL-2.0-only
"""IKE SAs and children as status documents show them."""

from __future__ import annotations

from .child_sa import Child
from .effects import ChildView, IkeView
from .ike_sa import IkeSa


def _left(at: float | None, now: float) -> float | None:
    return None if at is None else max(0.0, at - now)


def child_view(child: Child, now: float) -> ChildView:
    """Return how a child is shown."""
    sa = child.sa
    return ChildView(
        sa.id,
        sa.name,
        sa.reqid,
        child.state.value,
        sa.mode,
        sa.protocol,
        sa.spi_in,
        sa.spi_out,
        str(sa.suite),
        sa.local,
        sa.remote,
        sa.ends,
        now - child.created,
        _left(child.rekey_at, now),
    )


def ike_view(sa: IkeSa, now: float) -> IkeView:
    """Return how an IKE SA is shown; its connection is known."""
    assert sa.connection is not None
    return IkeView(
        sa.id,
        sa.connection.name,
        sa.state.value,
        sa.initiator,
        sa.spi_i,
        sa.spi_r,
        sa.own or sa.connection.local,
        sa.peer if sa.up else None,
        sa.local,
        sa.remote,
        sa.nat_local,
        sa.nat_remote,
        str(sa.suite) if sa.suite else "",
        sa.ppk_used,
        now - sa.created,
        now - sa.heard,
        _left(sa.rekey_at, now),
        _left(sa.reauthenticate_at, now),
        sa.assignment,
        tuple(child_view(child, now) for child in sa.children.values()),
        sa.credential_ends,
    )
