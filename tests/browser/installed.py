# SPDX-License-Identifier: GPL-2.0-only
"""The pages inside an installed LuCI: what its dispatcher and rpcd would answer.

``LUCI_ROOT`` names a folder that holds what a router has in ``/www``: a copy of that
folder, or a root file system with ``www`` in it. Its modules and theme are served as
they are; here is only what a template and a few ubus objects give them on a router.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = os.environ.get("LUCI_ROOT", "")
_RESOURCES = "/luci-static/resources"


def www() -> Path | None:
    """Return the folder that the web server serves, None without an installed LuCI."""
    if not ROOT:
        return None
    for folder in (Path(ROOT) / "www", Path(ROOT)):
        if (folder / "luci-static" / "resources" / "luci.js").is_file():
            return folder
    raise FileNotFoundError(f"LUCI_ROOT={ROOT}: there is no www/luci-static/resources/luci.js")


_PAGE = """<!DOCTYPE html>
<html lang="{language}" dir="{direction}" data-darkmode="{dark}">
<head><meta charset="utf-8"><title>dsmip</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/luci-static/bootstrap/cascade.css">
<link rel="stylesheet" media="only screen and (max-device-width: 854px)"
 href="/luci-static/bootstrap/mobile.css">
<script src="/luci-static/resources/cbi.js"></script>
<script>
window.TR = {{}};
for (const [ text, many, forms ] of {messages}) {{
  if (!text) TR['00000000'] = forms[0];
  else if (!many) TR[sfh(text)] = forms[0];
  else forms.forEach((form, i) => TR[sfh(text + '\\u0002' + i)] = form);
}}
</script></head>
<body class="lang_{language}" data-page="{page}">
<header><a class="brand" href="/">router</a><ul class="nav" id="topmenu"></ul>
<div id="indicators" class="pull-right"></div></header>
<div id="maincontent" class="container"><div id="tabmenu" style="display:none"></div>
<script src="/luci-static/resources/luci.js"></script>
<script>L = new LuCI({environment});</script>
<div id="view"><div class="spinning">Loading</div>
<script>
L.require('ui').then((ui) => ui.instantiateView({view}));
</script></div></div>
<footer><ul class="breadcrumb pull-right" id="modemenu" style="display:none"></ul></footer>
<script>L.require('menu-bootstrap')</script>
</body></html>
"""


def page(
    view: str,
    environment: Mapping[str, Any],
    messages: list[tuple[str, str, list[str]]],
    *,
    language: str,
    direction: str,
    dark: bool,
) -> str:
    """Return what LuCI's dispatcher makes of a view; a front page for an include."""
    include = view.startswith("include/")
    path = ["admin", "status", "overview"] if include else ["admin", *view.split("/")]
    readonly = bool(environment["nodespec"]["readonly"])
    known = dict(environment) | {
        "media": "/luci-static/bootstrap",
        "pathinfo": "/" + "/".join(path),
        "documentroot": "/www",
        "requestpath": path,
        "dispatchpath": path,
        "nodespec": {"satisfied": True, "readonly": readonly, "title": "Mobility"},
        "apply_rollback": 90,
        "apply_holdoff": 4,
        "apply_timeout": 5,
        "apply_display": 1.5,
        "rollback_token": None,
    }
    return _PAGE.format(
        language=language,
        direction=direction,
        dark="true" if dark else "false",
        page="-".join(path),
        messages=_script(messages),
        environment=_script(known),
        view=_script("status/index" if include else view),
    )


def _script(value: Any) -> str:
    return json.dumps(value).replace("</", "<\\/")


def menu() -> dict[str, Any]:
    """Return the menu's tree, with one place in it."""
    leaf = {"satisfied": True, "title": "Mobility", "order": 1, "action": {"type": "view"}}
    status = {"satisfied": True, "title": "Status", "order": 1, "children": {"dsmip": leaf}}
    admin = {"satisfied": True, "title": "Administration", "children": {"status": status}}
    return {"satisfied": True, "children": {"admin": admin}}


#: Interfaces as netifd tells them, for fields that choose one.
_INTERFACES = [
    {"interface": name, "up": True, "device": device, "l3_device": device, "proto": proto}
    | {"ipv4-address": [], "ipv6-address": [], "route": [], "data": {}, "available": True}
    for name, device, proto in (
        ("lan", "br-lan", "static"),
        ("wan", "eth1", "dhcp"),
        ("wan6", "eth1", "dhcpv6"),
        ("wwan", "wwan0", "dhcp"),
        ("mobile", "mip0", "dsmip"),
    )
]
_DEVICES = {
    name: {"name": name, "up": True, "type": 1, "mtu": 1500, "mac": "02:00:00:00:00:01"}
    | {"flags": {"up": True}, "stats": {}, "ifindex": number, "link": {"carrier": True}}
    | {"ipaddrs": [], "ip6addrs": []}
    for number, name in enumerate(("eth0", "br-lan", "eth1", "wwan0", "mip0"), 1)
}
#: /etc/config of a router, as far as LuCI's own modules want it.
CONFIGURATION: dict[str, dict[str, Any]] = {
    "network": {
        one["interface"]: {".type": "interface", ".name": one["interface"], ".index": number}
        | {"proto": one["proto"], "device": one["device"]}
        for number, one in enumerate(_INTERFACES)
    },
    "wireless": {},
    "luci": {"main": {".type": "core", ".name": "main", ".index": 0}},
    "dhcp": {},
    "firewall": {
        "dsmip": {".type": "zone", ".name": "dsmip", ".index": 0, "name": "dsmip"}
        | {"network": ["mobile"]}
    },
}


def answer(name: str, method: str, arguments: Mapping[str, Any], readonly: bool) -> list[Any]:
    """Answer for the ubus objects that LuCI's own modules ask."""
    if (name, method) == ("session", "access"):
        return [0, {"access": not readonly or arguments.get("function") == "read"}]
    if (name, method) == ("network.interface", "dump"):
        return [0, {"interface": _INTERFACES}]
    if (name, method) == ("network", "get_proto_handlers"):
        handlers = ("static", "dhcp", "none", "dsmip")
        return [0, {one: {"no_device": one == "dsmip"} for one in handlers}]
    if (name, method) == ("luci-rpc", "getNetworkDevices"):
        return [0, _DEVICES]
    if (name, method) == ("luci-rpc", "getBoardJSON"):
        return [0, {"model": {"id": "test", "name": "test"}, "network": {}}]
    if name == "luci-rpc":
        return [0, {}]
    if (name, method) == ("luci", "getFeatures"):
        return [0, {"firewall": True, "firewall4": True, "ipv6": True}]
    if (name, method) == ("file", "list"):
        if str(arguments.get("path", "")).endswith("view/status/include"):
            return [0, {"entries": [{"name": "80_dsmip.js", "type": "file"}]}]
        return [0, {"entries": []}]
    return [4]
