# SPDX-License-Identifier: GPL-2.0-only
"""Byte code of a library, as OpenWrt installs it: beside nothing, one file a module.

    python3.11 bytecode.py PYLIB ROOT LIBRARY

It is the same each time: no time of the source is in it, and hashing is fixed.
"""

from __future__ import annotations

import os
import py_compile
import sys
from pathlib import Path


def main(source: Path, root: Path, library: str) -> None:
    version = ".".join(map(str, sys.version_info[:2]))
    target = root / "usr" / "lib" / f"python{version}" / "site-packages"
    for module in sorted((source / library).rglob("*.py")):
        place = module.relative_to(source)
        made = (target / place).with_suffix(".pyc")
        made.parent.mkdir(parents=True, exist_ok=True)
        py_compile.compile(
            str(module),
            str(made),
            dfile=f"/usr/lib/python{version}/site-packages/{place}",
            doraise=True,
            optimize=0,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
