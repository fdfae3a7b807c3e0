# SPDX-License-Identifier: GPL-2.0-only
"""The payloads of one message, sorted by what they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from .errors import RemoteError
from .numbers import FIRST_STATUS, NotifyType
from .payloads import (
    KE,
    SA,
    Auth,
    Cert,
    CertReq,
    Configuration,
    Delete,
    Eap,
    IdI,
    IdR,
    Nonce,
    Notify,
    Payload,
    TSi,
    TSr,
)

T = TypeVar("T")


class Refused(RemoteError):
    """The other side says no, with this notification: it has changed nothing."""

    def __init__(self, notify: Notify) -> None:
        text = f"the other side says {describe(notify.type)}"
        super().__init__(text, notify.type, notify.data)


_ONE: Final[dict[type[Payload], str]] = {
    SA: "sa",
    KE: "ke",
    Nonce: "nonce",
    IdI: "idi",
    IdR: "idr",
    Auth: "auth",
    TSi: "tsi",
    TSr: "tsr",
    Configuration: "cp",
    Eap: "eap",
}
_MANY: Final[dict[type[Payload], str]] = {
    Notify: "notifies",
    Delete: "deletes",
    Cert: "certs",
    CertReq: "certreqs",
}


@dataclass(slots=True)
class Contents:
    """One slot for each payload that may be there once, a list for each other.

    Payloads of other types are left out, as RFC 7296 section 2.5 has it.
    """

    sa: SA | None = None
    ke: KE | None = None
    nonce: Nonce | None = None
    idi: IdI | None = None
    idr: IdR | None = None
    auth: Auth | None = None
    tsi: TSi | None = None
    tsr: TSr | None = None
    cp: Configuration | None = None
    eap: Eap | None = None
    notifies: list[Notify] = field(default_factory=list)
    deletes: list[Delete] = field(default_factory=list)
    certs: list[Cert] = field(default_factory=list)
    certreqs: list[CertReq] = field(default_factory=list)

    def notify(self, kind: int) -> Notify | None:
        """Return the first notification of a type."""
        for notify in self.notifies:
            if notify.type == kind:
                return notify
        return None

    def has(self, kind: int) -> bool:
        """Whether there is a notification of a type."""
        return self.notify(kind) is not None

    def all(self, kind: int) -> list[Notify]:
        """Return all notifications of a type."""
        return [notify for notify in self.notifies if notify.type == kind]

    @property
    def error(self) -> Notify | None:
        """The first notification of an error."""
        for notify in self.notifies:
            if notify.type < FIRST_STATUS:
                return notify
        return None


def sort(payloads: Iterable[Payload]) -> Contents:
    """Sort payloads. Raises ``RemoteError`` INVALID_SYNTAX for one that is repeated."""
    contents = Contents()
    for payload in payloads:
        kind = type(payload)
        name = _ONE.get(kind)
        if name is not None:
            if getattr(contents, name) is not None:
                raise RemoteError(f"{kind.__name__} payload repeated", NotifyType.INVALID_SYNTAX)
            setattr(contents, name, payload)
        elif kind in _MANY:
            getattr(contents, _MANY[kind]).append(payload)
    return contents


def need(payload: T | None, name: str) -> T:
    """Return a payload that must be there. Raises ``RemoteError`` INVALID_SYNTAX."""
    if payload is None:
        raise RemoteError(f"{name} payload is missing", NotifyType.INVALID_SYNTAX)
    return payload


def describe(notify: int) -> str:
    """Return the name of a notify type for a log."""
    try:
        return NotifyType(notify).name
    except ValueError:
        return f"notify {notify}"
