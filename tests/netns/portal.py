# SPDX-License-Identifier: GPL-2.0-only
"""A captive portal's web server: sends everybody to its login, which opens the network.

Run in the access network's namespace, where port 80 of all the world is led to it.
"""

from __future__ import annotations

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080
RULES = f"""
table ip portal {{
  chain pre {{
    type nat hook prerouting priority -100
    iifname "acc" tcp dport 80 redirect to :{PORT}
  }}
}}
"""
OPEN = "flush chain ip portal pre; flush chain ip guard portal"


class Portal(BaseHTTPRequestHandler):
    """``/login`` is all that it takes."""

    def do_GET(self) -> None:
        if self.path == "/login":
            subprocess.run(["nft", OPEN], check=True)
            self.send_response(200)
        else:
            self.send_response(302)
            self.send_header("Location", f"http://{sys.argv[1]}:{PORT}/login")
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
    print("ready", flush=True)
    ThreadingHTTPServer(("0.0.0.0", PORT), Portal).serve_forever()
