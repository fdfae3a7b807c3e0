# SPDX-License-Identifier: GPL-2.0-only
"""What a daemon loads when it starts, and what it does not."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
from pathlib import Path

import pytest
from dsmip.service.__main__ import hidden


def python(script: str, folder: Path) -> str:
    """Run a script in a process of its own, away from the sources; return what it prints."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True).stdout


def test_a_daemon_loads_neither_a_second_openssl_nor_all_of_pyroute2(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from dsmip.service.__main__ import without_openssl\n"
        "without_openssl()\n"
        "import dsmip.service.dsmipd\n"
        "from dsmip.linux.rtnl import message_classes\n"
        "message_classes()\n"
        "print(*sorted({'ssl', '_ssl', '_hashlib', 'sqlite3', 'pyroute2'} & set(sys.modules)))\n"
        "print(len([name for name in sys.modules if name.startswith('pyroute2')]) < 20)\n"
    )
    assert python(script, tmp_path) == "\nTrue\n"


def test_hashes_are_the_same_without_openssl(tmp_path: Path) -> None:
    script = (
        "from dsmip.service.__main__ import without_openssl\n"
        "without_openssl()\n"
        "import hashlib, hmac\n"
        "for name in ('md5', 'sha1', 'sha256', 'sha384', 'sha512'):\n"
        "    code = hmac.digest(b'key', b'data', name).hex()\n"
        "    print(hashlib.new(name, b'data').hexdigest(), code)\n"
    )
    wanted = [
        f"{hashlib.new(name, b'data').hexdigest()} {hmac.digest(b'key', b'data', name).hex()}"
        for name in ("md5", "sha1", "sha256", "sha384", "sha512")
    ]
    assert python(script, tmp_path).splitlines() == wanted


def test_who_needs_the_rest_later_gets_it(tmp_path: Path) -> None:
    script = (
        "from dsmip.service.__main__ import without_openssl\n"
        "without_openssl()\n"
        "from dsmip.linux.rtnl import message_classes\n"
        "ours = message_classes()\n"
        "import ssl, pyroute2\n"
        "from pyroute2.netlink.rtnl.rtmsg import rtmsg\n"
        "print(ssl.OPENSSL_VERSION[:7], callable(pyroute2.IPRoute))\n"
        "print(ours['route'] is rtmsg, message_classes()['route'] is rtmsg)\n"
    )
    assert python(script, tmp_path) == "OpenSSL True\nTrue True\n"


def test_what_is_loaded_already_is_not_hidden() -> None:
    with hidden("hashlib", "this_is_no_module"):
        assert sys.modules["hashlib"] is hashlib
        with pytest.raises(ImportError):
            import this_is_no_module  # type: ignore[import-not-found] # noqa: F401
    assert "this_is_no_module" not in sys.modules
