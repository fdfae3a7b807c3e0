# SPDX-License-Identifier: GPL-2.0-only
"""The texts of the LuCI app: writes its template for translators.

python -m tests.browser.texts
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from .server import APPS, ROOT

TEMPLATE = ROOT / "luci-app" / "luci-app-dsmip" / "po" / "templates" / "dsmip.pot"
_STRING = r"'((?:[^'\\]|\\.)*)'"
_ONE = re.compile(r"(?<![\w$])_\(\s*" + _STRING)
_MANY = re.compile(r"(?<![\w$])N_\([^,']+,\s*" + _STRING + r",\s*" + _STRING)


def found() -> Iterator[tuple[str, str, str]]:
    """Yield file, text, and its plural or ""; a line would change with each one above."""
    for app in APPS:
        for file in sorted(app.rglob("*.js")):
            where = str(file.relative_to(ROOT / "luci-app"))
            for line in file.read_text().splitlines():
                for match in _ONE.finditer(line):
                    yield where, _plain(match[1]), ""
                for match in _MANY.finditer(line):
                    yield where, _plain(match[1]), _plain(match[2])
    for file in sorted((ROOT / "luci-app").rglob("menu.d/*.json")):
        for entry in json.loads(file.read_text()).values():
            yield str(file.relative_to(ROOT / "luci-app")), entry["title"], ""


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def template() -> str:
    """Return the .pot file."""
    places: dict[tuple[str, str], dict[str, None]] = {}
    for where, text, many in found():
        places.setdefault((text, many), {})[where] = None
    parts = ['msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8"\n']
    for (text, many), where in sorted(places.items()):
        lines = [f"#: {place}" for place in where]
        lines.append(f"msgid {json.dumps(text, ensure_ascii=False)}")
        if many:
            lines += [
                f"msgid_plural {json.dumps(many, ensure_ascii=False)}",
                'msgstr[0] ""',
                'msgstr[1] ""',
            ]
        else:
            lines.append('msgstr ""')
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(TEMPLATE).write_text(template())
