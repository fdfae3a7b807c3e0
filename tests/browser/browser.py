# SPDX-License-Identifier: GPL-2.0-only
"""Debian's Chromium, driven through playwright-core by a process of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

DRIVER = Path(__file__).parent / "drive.mjs"


class BrowserError(Exception):
    """What the browser said about a step."""


class Browser:
    """One browser with one page at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=DRIVER.parent,
        )

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _step(self, what: str, **parameters: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what} | parameters) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BrowserError(f"the driver ended with {self._process.wait(10)}")
        reply = json.loads(line)
        if "error" in reply:
            raise BrowserError(f"{what} {parameters}: {reply['error']}")
        return reply["value"]

    def open(self, url: str, **how: Any) -> None:
        """Open a page and wait until the view is there; fail with what it said."""
        failed = self._step("open", url=url, **how)
        if failed:
            raise BrowserError(failed)

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Run a function body in the page and return its value."""
        return self._step("evaluate", script=script, argument=argument)

    def wait(self, script: str, timeout: int = 10000) -> Any:
        """Wait until an expression is true, some milliseconds at most."""
        return self._step("wait", script=script, timeout=timeout)

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self._step("text", selector=selector))

    def click(self, selector: str) -> None:
        """Click an element."""
        self._step("click", selector=selector)

    def fill(self, selector: str, value: str) -> None:
        """Type into a field."""
        self._step("fill", selector=selector, value=value)

    def select(self, selector: str, value: str) -> None:
        """Choose from a list."""
        self._step("select", selector=selector, value=value)

    def download(self, selector: str) -> dict[str, str]:
        """Click and return name and text of the file that comes of it."""
        return dict(self._step("download", selector=selector))

    def screenshot(self, path: Path, full: bool = True) -> None:
        """Write a picture of the whole page, or of what is seen of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._step("screenshot", path=str(path), full=full)

    def complaints(self) -> list[str]:
        """Return errors, alerts and the console's complaints since the page was opened."""
        return list(self._step("complaints"))

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened."""
        return list(self._step("requests"))
