# SPDX-License-Identifier: GPL-2.0-only
"""Files that the commands write: whole or not at all, and never over another unasked."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

#: Keys, tokens and configurations with secrets.
SECRET: Final = 0o600
#: Certificates and public keys.
PUBLIC: Final = 0o644


class FileError(Exception):
    """A file cannot be read or written; the text is for the operator."""


def write(path: str | Path, data: bytes, mode: int = SECRET, force: bool = False) -> None:
    """Write a file of that mode in one step. Raises ``FileError``.

    A file that is there stays as it was unless ``force``; a symbolic link is
    replaced, not followed.
    """
    target = Path(path)
    try:
        made = _temporary(target, data, mode)
        try:
            if force:
                os.replace(made, target)
            else:
                _link(made, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made)
        _settle(target.parent)
    except FileExistsError:
        raise FileError(f"{target} is there already: --force writes over it") from None
    except OSError as error:
        raise FileError(f"{target} cannot be written: {error.strerror or error}") from None


def replace(path: str | Path, data: bytes) -> None:
    """Change a file in one step; it keeps its owner and mode. Raises ``FileError``.

    A symbolic link is followed: it is the file behind it that changes.
    """
    target = Path(os.path.realpath(path))
    try:
        before = target.stat()
        made = _temporary(target, data, stat.S_IMODE(before.st_mode))
        try:
            os.chown(made, before.st_uid, before.st_gid)
            os.replace(made, target)
        except OSError:
            os.unlink(made)
            raise
        _settle(target.parent)
    except OSError as error:
        raise FileError(f"{target} cannot be written: {error.strerror or error}") from None


def read(path: str | Path, largest: int = 1 << 20) -> bytes:
    """Read a file. Raises ``FileError``, also for one that is too large."""
    try:
        with open(path, "rb") as file:
            found = file.read(largest + 1)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(found) > largest:
        raise FileError(f"{path} has more than {largest} octets")
    return found


def folder(path: str | Path) -> None:
    """Make a folder that only its owner can enter, unless there is one. Raises ``FileError``."""
    try:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path} cannot be made: {error.strerror or error}") from None


def _temporary(target: Path, data: bytes, mode: int) -> str:
    descriptor, made = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        os.unlink(made)
        raise
    return made


def _link(made: str, target: Path) -> None:
    try:
        os.link(made, target)
    except FileExistsError:
        raise
    except OSError:
        # File systems without hard links; what is lost is the check in the same step.
        if target.exists() or target.is_symlink():
            raise FileExistsError from None
        os.replace(made, target)


def _settle(where: Path) -> None:
    # A file that a reboot forgets was not enrolled.
    descriptor = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
