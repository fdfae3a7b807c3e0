# SPDX-License-Identifier: GPL-2.0-only
"""Flow rules in the kernel, put there by a thread: nft is a program, and takes its time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ..linux.dsmip import DsmipDevice
from ..linux.flows import FlowTable
from ..mobility.effects import PutFlows

log = logging.getLogger(__name__)


class FlowRules:
    """Carries out ``PutFlows`` in order, without anybody waiting for it."""

    def __init__(self, table: FlowTable) -> None:
        self._table = table
        self._worker = ThreadPoolExecutor(1, "nft")
        self._used = False
        self._submit(table.reset, logging.DEBUG)

    def put(self, effect: PutFlows) -> None:
        """Replace the rules of a binding soon."""
        self._used = True
        self._submit(
            lambda: self._table.put(
                effect.home_address, effect.networks, effect.rules, effect.mobile
            ),
            logging.ERROR,
        )

    def stop(self, keep: bool) -> None:
        """Finish what was asked for; the rules stay if ``keep`` is set."""
        if self._used and not keep:
            self._submit(self._table.reset, logging.ERROR)
        self._worker.shutdown(wait=True)

    def _submit(self, action: Callable[[], None], level: int) -> None:
        def done(future: Future[None]) -> None:
            error = future.exception()
            if error is not None:
                reason = error.strerror if isinstance(error, OSError) else repr(error)
                log.log(level, "flow bindings are not in force: %s", reason)

        self._worker.submit(action).add_done_callback(done)


def open_flows(device: object, mask: int, copy_mask: int) -> FlowRules | None:
    """Let the module take marks for BIDs; None where there is no module to do so."""
    if not isinstance(device, DsmipDevice):
        return None
    device.configure(mark_mask=mask, copy_mask=copy_mask)
    return FlowRules(FlowTable(mask, copy_mask))
