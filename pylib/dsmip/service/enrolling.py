# SPDX-License-Identifier: GPL-2.0-only
"""Enrolment at the home agent, written down: for the command and for the daemon."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from . import files, printable
from . import options as o
from .authority import DEFAULT_FOLDER
from .control import RequestError
from .credentials import CredentialError
from .enroll import Agent, EnrollError, Enrolment, NewFile, Wish, again, enroll
from .ike_config import Authentication, Manager, Payload
from .options import ConfigError, Refused, Word
from .printable import PrintableError, QrMissing
from .token import TokenError, frame

PREFIXES_MAX: Final = 64


def write_all(made: Iterable[NewFile], directory: str, force: bool) -> list[str]:
    """Write all files or none of them; returns the names of those that are new."""
    wanted = list(made)
    if wanted:
        files.folder(directory)
    for one in wanted:
        if not force and os.path.lexists(one.path):
            raise files.FileError(f"{one.path} is there already: --force writes over it")
    done: list[str] = []
    try:
        for one in wanted:
            new = not os.path.lexists(one.path)
            files.write(one.path, one.data, one.mode, force)
            done += [one.path] if new else []
    except files.FileError:
        remove_all(done)
        raise
    return done


def remove_all(paths: Iterable[str]) -> None:
    """Take files away that are of no use after all."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)


def read_agent(path: str) -> Agent:
    """Read a home agent's configuration. Raises ``EnrollError`` and what ``Agent`` raises."""
    try:
        text = files.read(path).decode()
    except UnicodeDecodeError:
        raise EnrollError(f"{path} is not text") from None
    return Agent(text, os.path.abspath(path))


def keep(
    agent: Agent, made: Enrolment, directory: str, force: bool = False, write: bool = True
) -> dict[str, Any]:
    """Write the entry and the files, so that either all of it is there or nothing.

    Raises ``ConfigError``, ``EnrollError`` and ``FileError``.
    """
    token = made.token
    document: dict[str, Any] = {
        "identity": token.identity,
        "home_address": str(token.home_address or "auto"),
        "prefixes": [str(prefix) for prefix in token.prefixes],
        "token": printable.text(frame(token)),
        "expires": token.expires,
        "entry": made.entry,
        "files": [one.path for one in made.files],
        "config": None,
    }
    new = write_all(made.files, directory, force)
    try:
        whole = agent.with_entry(made.entry) if made.entry else ""
        if whole and write:
            files.replace(agent.source, whole.encode())
            document["config"] = agent.source
    except (ConfigError, EnrollError, files.FileError):
        remove_all(new)
        raise
    return document


# --- for the daemon --------------------------------------------------------------


def answer(
    path: str,
    request: Mapping[str, Any],
    directory: str = DEFAULT_FOLDER,
    manager: Manager = Manager.IKEV2,
) -> dict[str, Any]:
    """Enrol a router that a request describes; ``path`` is the configuration of the daemon.

    ``{"identity": TEXT, "prefixes": LIST or words, "payload": WORD, "again": BOOLEAN}``;
    the answer has the token as text, and as rows of a QR code where that can be made.
    """
    wish = _wish(request, directory, manager)
    try:
        agent = read_agent(path)
        once_more = request.get("again") is True
        make = again if once_more else enroll
        made = make(agent, wish, time.time())
        document = keep(agent, made, directory, force=once_more)
    except ConfigError as error:
        raise RequestError("; ".join(fault.problem for fault in error.faults[:3])) from error
    except (EnrollError, TokenError, CredentialError, PrintableError, files.FileError) as error:
        raise RequestError(str(error)) from error
    del document["entry"]
    try:
        rows = printable.matrix(printable.compact(frame(made.token)))
        document["qr"] = ["".join(str(module) for module in row) for row in rows]
    except (QrMissing, PrintableError) as error:
        document["qr"], document["no_qr"] = None, str(error)
    return document


def _wish(request: Mapping[str, Any], directory: str, manager: Manager) -> Wish:
    identity, words = request.get("identity"), request.get("prefixes") or []
    if isinstance(words, str):
        words = words.replace(",", " ").split()
    payload = request.get("payload") or "none"
    if not isinstance(words, list) or len(words) > PREFIXES_MAX:
        raise RequestError(f'"prefixes" is a list of at most {PREFIXES_MAX}')
    try:
        if not isinstance(identity, str) or any(one.isspace() for one in identity):
            raise Refused("a text without spaces")
        o.text(Word(identity))
    except Refused as refused:
        raise RequestError(f'"identity" is the name of a router: {refused}') from None
    try:
        prefixes = tuple(o.prefix(Word(str(one))) for one in words)
    except Refused as refused:
        raise RequestError(f'"prefixes": allowed is {refused}') from None
    if payload not in [str(one) for one in Payload]:
        raise RequestError(f'"payload" is one of {", ".join(Payload)}')
    return Wish(
        identity=identity,
        prefixes=prefixes,
        manager=manager,
        authentication=Authentication.PSK,
        payload=Payload(payload),
        directory=directory,
    )
