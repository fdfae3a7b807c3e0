# SPDX-License-Identifier: GPL-2.0-only
"""Serves the LuCI app's files and answers its calls: LuCI without LuCI.

With ``LUCI_ROOT`` naming an installed LuCI the pages get its own modules and theme
instead of the harness's; ``installed.py`` says what is asked of it.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dsmip.service.client import Client, ClientError

from . import installed

ROOT = Path(__file__).parents[2]
HARNESS = Path(__file__).parent / "harness"
APPS = [ROOT / "luci-app" / name / "htdocs" for name in ("luci-app-dsmip", "luci-proto-dsmip")]
WWW = installed.www()
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}

#: A ubus status: of a call to what is not there, and of one that is not allowed.
NOT_FOUND, DENIED = 4, 6

Answer = Callable[[str, str, Mapping[str, Any]], list[Any]]

_PAGE = """<!DOCTYPE html>
<html lang="{language}" dir="{direction}" data-darkmode="{dark}">
<head><meta charset="utf-8"><title>dsmip</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/harness/theme.css">
<script src="/luci-static/resources/luci.js"></script>
<script src="/harness/form.js"></script>
<script>window.TR = {words};</script></head>
<body><div id="maincontent" class="container"><div id="view"></div></div>
<script>
L = new LuCI({environment});
{start}
</script></body></html>
"""
_VIEW = """L.require('ui').then(function(ui) {{
  return ui.instantiateView('{view}');
}});"""
_INCLUDE = """L.require('view.status.include.{name}').then(function(part) {{
  return Promise.resolve(part.load()).then(function(data) {{
    document.getElementById('view').appendChild(part.render(data) || document.createTextNode(''));
    window.harnessReady = true;
  }});
}});"""


class Fixtures:
    """Answers from documents that a test may change while a page is open."""

    def __init__(self, documents: Mapping[str, Any], uci: Mapping[str, Any] | None = None) -> None:
        self.documents = copy.deepcopy(dict(documents))
        self.uci: dict[str, Any] = copy.deepcopy(dict(uci or {}))
        self.files = copy.deepcopy(installed.CONFIGURATION) | {"dsmip": self.uci}
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.delay = 0.0
        self.dead = False
        #: Methods that this session may not call.
        self.denied: set[str] = set()

    def __call__(self, name: str, method: str, arguments: Mapping[str, Any]) -> list[Any]:
        self.calls.append((name, method, dict(arguments)))
        time.sleep(self.delay)
        if method in self.denied:
            return [DENIED]
        if name == "uci":
            return self._configuration(method, arguments)
        if name != "luci.dsmip" or self.dead:
            return [NOT_FOUND]
        return [0, self._part(method, self.documents.get(method, {}), arguments)]

    def _part(self, method: str, document: Any, arguments: Mapping[str, Any]) -> Any:
        """Return a page of a list, as a daemon does; anything else is what it is."""
        name = {"bindings": "bindings", "absent": "routers"}.get(method)
        if method == "routers":
            wanted = str(arguments.get("addresses")).split()
            rows = self.documents.get("bindings", {}).get("bindings", [])
            return {"bindings": [one for one in rows if one.get("home_address") in wanted]}
        if name is None or not isinstance(document.get(name), list):
            return document
        rows, after = document[name], arguments.get("after")
        if after:
            rows = rows[[one.get("home_address") for one in rows].index(after) + 1 :]
        limit = arguments.get("limit", 250)
        more = rows[limit - 1]["home_address"] if len(rows) > limit else ""
        return {**document, name: rows[:limit], "next": more}

    def _configuration(self, method: str, arguments: Mapping[str, Any]) -> list[Any]:
        """Answer as rpcd's uci object does."""
        config, section = arguments.get("config"), arguments.get("section")
        if method == "changes":
            return [0, {"changes": {}}]
        values = self.files.get(str(config))
        if values is None:
            return [NOT_FOUND]
        if method == "get":
            return [0, {"values": values}]
        if method == "add":
            made = arguments.get("name") or f"cfg{len(values):06d}"
            shape = {".type": arguments["type"], ".name": made, ".index": len(values)}
            shape[".anonymous"] = not arguments.get("name")
            values[made] = shape | dict(arguments.get("values", {}))
            return [0, {"section": made}]
        if method == "order":
            for index, one in enumerate(arguments["sections"]):
                values[one][".index"] = index
            return [0]
        if section not in values:
            return [NOT_FOUND]
        if method == "set":
            values[section] |= dict(arguments.get("values", {}))
            return [0]
        if method == "delete" and arguments.get("options"):
            for option in arguments["options"]:
                values[section].pop(option, None)
            return [0]
        if method == "delete":
            del values[section]
            return [0]
        return [NOT_FOUND]


class Live:
    """Answers from a daemon's control socket, as the plugin luci.dsmip would."""

    def __init__(self, socket: str) -> None:
        self.socket = socket

    def __call__(self, name: str, method: str, arguments: Mapping[str, Any]) -> list[Any]:
        if name != "luci.dsmip":
            return [NOT_FOUND]
        # Messages of ubus carry numbers where the control socket wants true and false.
        flags = {name: bool(arguments[name]) for name in ("held", "again") if name in arguments}
        try:
            with Client(self.socket) as client:
                return [0, client.ask(method, **{**arguments, **flags})]
        except ClientError as error:
            return [0, {"error": str(error)}]


class Pages:
    """The web server, while the context lasts."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.readonly = False
        pages = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Tests print what they need."""

            def do_GET(self) -> None:
                status, kind, body = pages.get(self.path)
                self._reply(status, kind, body)

            def do_POST(self) -> None:
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                many = given if isinstance(given, list) else [given]
                replies = [pages.call(one) for one in many]
                body = json.dumps(replies if isinstance(given, list) else replies[0]).encode()
                self._reply(200, "application/json", body)

            def _reply(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Pages:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a JSON-RPC request in the form that uhttpd gives."""
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
        try:
            _, name, method, arguments = request["params"]
        except (KeyError, ValueError):
            return reply | {"error": {"code": -32602, "message": "Invalid params"}}
        if request.get("method") == "list":
            return reply | {"result": {}}
        result = self.answer(name, method, arguments)
        if result == [NOT_FOUND]:
            result = installed.answer(name, method, arguments, self.readonly)
        if result == [DENIED]:
            return reply | {"error": {"code": -32002, "message": "Access denied"}}
        return reply | {"result": result}

    def get(self, path: str) -> tuple[int, str, bytes]:
        """Return status, type and body of a file or page."""
        url = urlsplit(path)
        if url.path == "/favicon.ico":
            return 200, "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
        if url.path.startswith("/page/"):
            page = self._page(url.path.removeprefix("/page/"), parse_qs(url.query))
            return 200, "text/html", page.encode()
        if url.path.startswith("/harness/"):
            return self._file(HARNESS / url.path.removeprefix("/harness/"))
        if url.path.endswith("/admin/menu"):
            return 200, "application/json", json.dumps(installed.menu()).encode()
        if url.path == "/luci-static/resources/luci.js" and WWW is None:
            return self._file(HARNESS / "luci.js")
        for root in (*APPS, *([WWW] if WWW else [])):
            file = root / url.path.lstrip("/")
            if file.is_file():
                return self._file(file)
        return 404, "text/plain", b"not found"

    @staticmethod
    def _file(file: Path) -> tuple[int, str, bytes]:
        if ".." in file.parts or not file.is_file():
            return 404, "text/plain", b"not found"
        return 200, _TYPES.get(file.suffix, "application/octet-stream"), file.read_bytes()

    def _page(self, view: str, query: Mapping[str, list[str]]) -> str:
        def first(name: str, other: str = "") -> str:
            return query.get(name, [other])[0]

        environment = {
            "sessionid": "0" * 32,
            "token": "",
            "resource": "/luci-static/resources",
            "scriptname": "/cgi-bin/luci",
            "ubuspath": "/ubus/",
            "pollinterval": 1,
            "nodespec": {"satisfied": True, "readonly": first("readonly") == "1"},
        }
        self.readonly = first("readonly") == "1"
        language, direction = first("language", "en"), first("direction", "ltr")
        dark = first("dark") == "1"
        if WWW is not None:
            return installed.page(
                view,
                environment,
                list(messages(language)),
                language=language,
                direction=direction,
                dark=dark,
            )
        name = view.replace("/", ".").removeprefix("include.")
        start = (_INCLUDE if view.startswith("include/") else _VIEW).format(view=view, name=name)
        return _PAGE.format(
            language=language,
            direction=direction,
            dark="true" if dark else "false",
            words=json.dumps(translations(language)),
            environment=json.dumps(environment),
            start=start,
        )


def messages(language: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield text, plural or "", and translations of a language's .po file.

    The first has no text: its translation is how plurals are chosen.
    """
    file = ROOT / "luci-app" / "luci-app-dsmip" / "po" / language / "dsmip.po"
    if file.is_file():
        yield from parse_po(file.read_text())


def translations(language: str) -> dict[str, str]:
    """Return the texts of a language's .po file, none for English."""
    return _pairs(messages(language))


def read_po(text: str) -> dict[str, str]:
    """Return what each message of a .po file is translated to."""
    return _pairs(parse_po(text))


def _pairs(found: Iterator[tuple[str, str, list[str]]]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text, many, forms in found:
        pairs |= {one: form for one, form in zip((text, many), forms, strict=False) if one and form}
    return pairs


def parse_po(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield text, plural or "", and translations of each message of a .po file."""
    current: list[str] = []
    parts: dict[str, list[str]] = {}

    def end() -> Iterator[tuple[str, str, list[str]]]:
        if "msgid" in parts:
            source = "".join(parts["msgid"])
            forms = ["".join(lines) for word, lines in parts.items() if word[:6] == "msgstr"]
            if not source:
                rule = re.search(r"plural=[^;\n]+;", forms[0])
                forms = [rule[0] if rule else "plural=(n != 1);"]
            yield source, "".join(parts.get("msgid_plural", [])), forms
        parts.clear()

    for line in text.splitlines():
        if line.startswith("msg"):
            word, _, rest = line.partition(" ")
            if word == "msgid":
                yield from end()
            current = parts.setdefault(word, [])
            current.append(json.loads(rest))
        elif line.startswith('"'):
            current.append(json.loads(line))
    yield from end()
