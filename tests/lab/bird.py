# SPDX-License-Identifier: GPL-2.0-only
"""BIRD on both ends of the tunnel: BGP between home address and home agent.

A protocol that needs link-local multicast cannot run there: one device leads to
every router, so a packet to ff02::5 has no binding to go to (RFC 3963 section 8
supposes a tunnel interface for each). BGP between the two permanent addresses has
no such need, and survives every handover.
"""

from __future__ import annotations

from .topology import HA6, HOA

AS_AGENT, AS_ROUTER = 64512, 64517
#: Where the home agent's BIRD puts what it learns; ``learn_table`` names it.
TABLE = 4192

_COMMON = """\
log stderr all;
router id {id};
protocol device {{ scan time 1; }}
protocol kernel {{
  scan time 1; learn;
  ipv6 {{ import all; export none; }};
}}
"""


def agent() -> str:
    """Return the home agent's configuration: it takes the routers' prefixes, and gives the rest."""
    return (
        _COMMON.format(id="198.51.100.1")
        + f"""\
ipv6 table learned;
protocol kernel learned6 {{
  kernel table {TABLE}; scan time 1;
  ipv6 {{ table learned; import none; export all; }};
}}
protocol static {{ ipv6; route 2001:db8:c::/64 via 2001:db8:f:1::1; }}
protocol bgp bus {{
  local {HA6} as {AS_AGENT}; neighbor {HOA} as {AS_ROUTER};
  multihop; connect retry time 2; connect delay time 1;
  ipv6 {{
    table learned; igp table master6; next hop self; gateway recursive;
    import all; export none;
  }};
}}
"""
    )


def router(networks: list[str]) -> str:
    """Return the mobile router's configuration: it tells of these networks."""
    routes = "".join(f" route {network} unreachable;" for network in networks)
    return (
        _COMMON.format(id="198.51.100.100")
        + f"""\
protocol static {{ ipv6;{routes} }}
protocol bgp home {{
  local {HOA} as {AS_ROUTER}; neighbor {HA6} as {AS_AGENT};
  multihop; connect retry time 2; connect delay time 1;
  ipv6 {{ import all; export where source = RTS_STATIC; next hop self; }};
}}
"""
    )
