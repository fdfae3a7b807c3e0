# SPDX-License-Identifier: GPL-2.0-only
"""How fast this machine's time stamp counter runs, which an emulated one shows as its own.

The guest's kernel measures it while it boots. On a busy host it gets that wrong by
anything up to four times, and all its clocks with it; what is measured here with care
is handed to it instead.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import time

# rdtsc; shl rdx, 32; or rax, rdx; ret
_READ = bytes.fromhex("0f31 48c1e220 4809d0 c3")
_ROUNDS = 7
_SECONDS = 0.03


def kilohertz() -> int | None:
    """Return it, None where there is none."""
    if platform.machine() != "x86_64":
        return None
    try:
        code = mmap.mmap(-1, len(_READ), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    code.write(_READ)
    place = ctypes.c_char.from_buffer(code)
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(place))

    def both() -> tuple[int, int]:
        """Read clock and counter, the closest together of some times."""
        found = []
        for _ in range(20):
            before = time.monotonic_ns()
            counter = read()
            found.append((time.monotonic_ns() - before, before, counter))
        return min(found)[1:]

    rates = []
    for _ in range(_ROUNDS):
        clock, counter = both()
        time.sleep(_SECONDS)
        later, count = both()
        rates.append((count - counter) * 1_000_000 // (later - clock))
    # The mapping stays: code may not go while something could still call it.
    return sorted(rates)[_ROUNDS // 2]
