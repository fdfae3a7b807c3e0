# SPDX-License-Identifier: GPL-2.0-only
"""dsmipd as it is started, without the memory that it has no use for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

#: Python's own hash functions, of which each version has one or the other.
_OWN_HASHES = (("_md5",), ("_sha1",), ("_sha2", "_sha256"), ("_sha2", "_sha512"))


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Let imports fail of those modules that nobody has imported yet."""
    mine = [name for name in names if name not in sys.modules]
    for name in mine:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in mine:
            del sys.modules[name]


def without_openssl() -> None:
    """Have asyncio without TLS, and hashes and HMAC of Python's own.

    Nothing here speaks TLS through asyncio, and what else needs OpenSSL has it from
    cryptography, often a second copy: 4 MB of a small router's memory.
    """
    own = all(any(map(importlib.util.find_spec, names)) for names in _OWN_HASHES)
    with hidden("ssl", *(("_hashlib",) if own else ())):
        for name in ("asyncio", "hashlib", "hmac"):
            importlib.import_module(name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run dsmipd; returns the exit status."""
    without_openssl()
    from .dsmipd import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
