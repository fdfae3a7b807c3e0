# SPDX-License-Identifier: GPL-2.0-only
"""Other people's programs: run without waiting for them longer, or reading more, than is wise."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Sequence


async def run(command: Sequence[str], timeout: float, largest: int = 0) -> bytes:
    """Run a program and return the octets that it says, at most ``largest`` of them.

    With 0 nobody listens. Raises ``OSError`` when it is not there, says more, or
    fails, and ``TimeoutError`` after so many seconds; then it is ended.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if largest else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    said = bytearray()
    try:
        async with asyncio.timeout(timeout):
            while process.stdout is not None and (more := await process.stdout.read(largest)):
                said += more
                if len(said) > largest:
                    raise OSError(f"{command[0]} says too much")
            if status := await process.wait():
                raise OSError(f"{command[0]} ended with {status}")
            return bytes(said)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
