# SPDX-License-Identifier: GPL-2.0-only
"""States of IKE SAs and child SAs: all that may happen to them, as tables.

What is not in a table is a fault: of ours (``LocalError``) for a change of state,
of the other side for a message.
"""

from __future__ import annotations

import enum
from typing import Final

from .errors import LocalError
from .numbers import ExchangeType


class IkeState(enum.Enum):
    """Where an IKE SA is."""

    INITIATING = "initiating"  # our IKE_SA_INIT (or IKE_SESSION_RESUME) is out
    HALF_OPEN = "half-open"  # we answered one; nobody is authenticated
    INTERMEDIATE = "intermediate"  # additional key exchanges run
    AUTHENTICATING = "authenticating"
    REFUSED = "refused"  # we refused the peer; kept only to repeat that answer
    ESTABLISHED = "established"
    REKEYING = "rekeying"  # our request to rekey it is out
    REKEYED = "rekeyed"  # a successor has its children; it waits for its end
    DELETING = "deleting"  # our request to delete it is out
    GONE = "gone"


class IkeEvent(enum.Enum):
    """What changes the state of an IKE SA."""

    INIT_ANSWERED = enum.auto()
    EXTRA_KEYS = enum.auto()
    AUTH_BEGINS = enum.auto()
    REFUSE = enum.auto()
    UP = enum.auto()
    REKEY = enum.auto()
    REKEY_FAILED = enum.auto()
    SUCCEEDED = enum.auto()
    DELETE = enum.auto()
    END = enum.auto()


_S, _E = IkeState, IkeEvent

IKE_TRANSITIONS: Final[dict[tuple[IkeState, IkeEvent], IkeState]] = {
    (_S.INITIATING, _E.INIT_ANSWERED): _S.AUTHENTICATING,
    (_S.INITIATING, _E.EXTRA_KEYS): _S.INTERMEDIATE,
    (_S.HALF_OPEN, _E.EXTRA_KEYS): _S.INTERMEDIATE,
    (_S.HALF_OPEN, _E.AUTH_BEGINS): _S.AUTHENTICATING,
    (_S.INTERMEDIATE, _E.AUTH_BEGINS): _S.AUTHENTICATING,
    (_S.HALF_OPEN, _E.REFUSE): _S.REFUSED,
    (_S.INTERMEDIATE, _E.REFUSE): _S.REFUSED,
    (_S.AUTHENTICATING, _E.REFUSE): _S.REFUSED,
    (_S.HALF_OPEN, _E.UP): _S.ESTABLISHED,  # successor of a rekey: authenticated already
    (_S.AUTHENTICATING, _E.UP): _S.ESTABLISHED,
    (_S.ESTABLISHED, _E.REKEY): _S.REKEYING,
    (_S.REKEYING, _E.REKEY_FAILED): _S.ESTABLISHED,
    (_S.REKEYING, _E.SUCCEEDED): _S.REKEYED,
    (_S.ESTABLISHED, _E.SUCCEEDED): _S.REKEYED,
    (_S.ESTABLISHED, _E.DELETE): _S.DELETING,
    (_S.REKEYING, _E.DELETE): _S.DELETING,
    (_S.REKEYED, _E.DELETE): _S.DELETING,
    **{(state, _E.END): _S.GONE for state in _S if state is not _S.GONE},
}

#: Exchanges that the other side may begin, by our state.
_LIVE = frozenset(
    {
        ExchangeType.CREATE_CHILD_SA,
        ExchangeType.INFORMATIONAL,
        ExchangeType.IKE_FOLLOWUP_KE,
    }
)
ACCEPTED: Final[dict[IkeState, frozenset[ExchangeType]]] = {
    _S.INITIATING: frozenset(),
    _S.HALF_OPEN: frozenset({ExchangeType.IKE_AUTH, ExchangeType.IKE_INTERMEDIATE}),
    _S.INTERMEDIATE: frozenset({ExchangeType.IKE_AUTH, ExchangeType.IKE_INTERMEDIATE}),
    _S.AUTHENTICATING: frozenset({ExchangeType.IKE_AUTH}),
    _S.REFUSED: frozenset(),
    _S.ESTABLISHED: _LIVE,
    _S.REKEYING: _LIVE,
    _S.REKEYED: _LIVE,
    _S.DELETING: _LIVE,
    _S.GONE: frozenset(),
}

#: States of an IKE SA whose peer is authenticated.
UP: Final = frozenset({_S.ESTABLISHED, _S.REKEYING, _S.REKEYED, _S.DELETING})
#: States in which we may begin exchanges about children.
USABLE: Final = frozenset({_S.ESTABLISHED})


class ChildState(enum.Enum):
    """Where a child SA is."""

    INSTALLED = "installed"
    REKEYING = "rekeying"  # our request to rekey it is out
    REKEYED = "rekeyed"  # a successor is installed; it waits for its end
    DELETING = "deleting"  # our request to delete it is out
    GONE = "gone"


class ChildEvent(enum.Enum):
    """What changes the state of a child SA."""

    REKEY = enum.auto()
    REKEY_FAILED = enum.auto()
    SUCCEEDED = enum.auto()
    REVIVE = enum.auto()
    DELETE = enum.auto()
    END = enum.auto()


_C, _X = ChildState, ChildEvent

CHILD_TRANSITIONS: Final[dict[tuple[ChildState, ChildEvent], ChildState]] = {
    (_C.INSTALLED, _X.REKEY): _C.REKEYING,
    (_C.REKEYING, _X.REKEY_FAILED): _C.INSTALLED,
    (_C.INSTALLED, _X.SUCCEEDED): _C.REKEYED,
    (_C.REKEYING, _X.SUCCEEDED): _C.REKEYED,
    (_C.REKEYED, _X.REVIVE): _C.INSTALLED,
    (_C.INSTALLED, _X.DELETE): _C.DELETING,
    (_C.REKEYING, _X.DELETE): _C.DELETING,
    (_C.REKEYED, _X.DELETE): _C.DELETING,
    **{(state, _X.END): _C.GONE for state in _C if state is not _C.GONE},
}


class Reply(enum.Enum):
    """How a request of the other side is met that touches a child or the IKE SA."""

    USUAL = enum.auto()
    COLLISION = enum.auto()  # as usual, and the nonces decide later which SA stays
    TEMPORARY_FAILURE = enum.auto()
    NOT_FOUND = enum.auto()
    WITHOUT_DELETE = enum.auto()


#: RFC 7296 section 2.25.1: a request to rekey a child, by its state with us.
REKEY_CHILD: Final[dict[ChildState, Reply]] = {
    _C.INSTALLED: Reply.USUAL,
    _C.REKEYING: Reply.COLLISION,
    _C.REKEYED: Reply.TEMPORARY_FAILURE,
    _C.DELETING: Reply.TEMPORARY_FAILURE,
    _C.GONE: Reply.NOT_FOUND,
}
#: The same section: a request to close a child.
CLOSE_CHILD: Final[dict[ChildState, Reply]] = {
    _C.INSTALLED: Reply.USUAL,
    _C.REKEYING: Reply.USUAL,
    _C.REKEYED: Reply.USUAL,
    _C.DELETING: Reply.WITHOUT_DELETE,
    _C.GONE: Reply.WITHOUT_DELETE,
}
#: Section 2.25.2: a request to rekey the IKE SA, by its state with us.
REKEY_IKE: Final[dict[IkeState, Reply]] = {
    _S.ESTABLISHED: Reply.USUAL,
    _S.REKEYING: Reply.COLLISION,
    _S.REKEYED: Reply.TEMPORARY_FAILURE,
    _S.DELETING: Reply.TEMPORARY_FAILURE,
}
#: The same section: a request to create or rekey a child below it.
CREATE_CHILD: Final[dict[IkeState, Reply]] = {
    _S.ESTABLISHED: Reply.USUAL,
    _S.REKEYING: Reply.TEMPORARY_FAILURE,
    _S.REKEYED: Reply.TEMPORARY_FAILURE,
    _S.DELETING: Reply.TEMPORARY_FAILURE,
}


def ike_after(state: IkeState, event: IkeEvent) -> IkeState:
    """Return the state that follows. Raises ``LocalError`` where none does."""
    try:
        return IKE_TRANSITIONS[state, event]
    except KeyError:
        raise LocalError(f"IKE SA {state.value}: {event.name} makes no sense") from None


def child_after(state: ChildState, event: ChildEvent) -> ChildState:
    """Return the state that follows. Raises ``LocalError`` where none does."""
    try:
        return CHILD_TRANSITIONS[state, event]
    except KeyError:
        raise LocalError(f"child SA {state.value}: {event.name} makes no sense") from None
