# SPDX-License-Identifier: GPL-2.0-only
"""A long cable between two namespaces, where the kernel has no netem.

    python -m tests.lab.delay MILLISECONDS

It is ``ha`` in namespace ``core`` and ``core`` in namespace ``ha``; each frame
comes out of the other end that much later.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import sys
import time

from dsmip.linux.portable import open_tap

from .kmodlib import inside

_FRAME = 65536
_MOST = 10000


def main() -> None:
    delay = float(sys.argv[1]) / 1000
    ends = []
    for namespace, interface in (("core", "ha"), ("ha", "core")):
        with inside(namespace):
            ends.append(open_tap(interface))
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    waiting: list[tuple[float, int, int, bytes]] = []
    number = itertools.count()
    while True:
        rest = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        for end in select.select(ends, [], [], rest)[0]:
            try:
                while len(waiting) < _MOST:
                    frame = os.read(end, _FRAME)
                    due = time.monotonic() + delay
                    heapq.heappush(waiting, (due, next(number), other[end], frame))
            except OSError:
                continue
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(waiting)
            try:
                os.write(end, frame)
            except OSError:
                continue


if __name__ == "__main__":
    main()
