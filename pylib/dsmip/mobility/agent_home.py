# SPDX-License-Identifier: GPL-2.0-only
"""A home agent and a router that is at home and away at once (RFC 5648 sections 5.6 and 6.3).

The home link is one more way to the router, which an update names with the H flag in
its Binding Identifier option. It has no path in the kernel: when it is the best way
packets go to the home link as they do without a binding, else through the tunnel.
"""

from __future__ import annotations

from ..packet.mobility import BindingUpdate
from ..packet.options import BindingIdentifier, LinkLayerAddress, find, find_all
from ..packet.status import BindingAckStatus
from . import registration
from .binding_cache import Entry, HomePath
from .config import HomeAgentConfig
from .effects import AtHome, Effect, Moved
from .ownership import Owner
from .registration import Refused

#: Option code of the mobile node's own address (RFC 5568 section 6.4.4).
OWN_ADDRESS = 2


def wanted(update: BindingUpdate) -> BindingIdentifier | None:
    """Return the option that asks for a home binding. Raises ``Refused`` for two of them."""
    found = [option for option in find_all(update.options, BindingIdentifier) if option.home]
    if len(found) > 1:
        raise Refused(BindingAckStatus.MCOA_MALFORMED, "one home binding is all there can be")
    return found[0] if found and update.lifetime else None


def judge(
    config: HomeAgentConfig,
    owner: Owner,
    update: BindingUpdate,
    option: BindingIdentifier,
    before: Entry | None,
    now: float,
) -> HomePath:
    """Return the way over the home link, or raise ``Refused``."""
    home = owner.home_address
    on_link = config.home_link and any(home in prefix for prefix in config.prefixes)
    if not config.home_and_away or not on_link:
        raise Refused(
            BindingAckStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED,
            "a binding at home and away at once is not served",
        )
    if option.address not in (None, home):
        raise Refused(
            BindingAckStatus.MCOA_MALFORMED,
            f"BID {option.bid}: {option.address} is not its home address",
        )
    known = before.home if before is not None and before.home else None
    told = [o.address for o in find_all(update.options, LinkLayerAddress) if o.code == OWN_ADDRESS]
    link_layer = told[0] if told else known.link_layer if known else b""
    if len(link_layer) != 6 or link_layer[0] & 1 or not any(link_layer):
        raise Refused(
            BindingAckStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED,
            "its link-layer address on the home link is not told",
        )
    lifetime = registration.granted(config, update)
    return HomePath(option.bid, link_layer, lifetime, now + lifetime, option.priority)


def changed(config: HomeAgentConfig, before: Entry | None, after: Entry) -> list[Effect]:
    """Return what brings packets to the home link, or back into the tunnel.

    The first one comes before the kernel hears of the binding, so that no packet is
    sent where nobody is.
    """
    old, new = _place(config, before), _place(config, after)
    if old == new:
        return []
    if new is not None:
        return [new]
    assert old is not None
    return [AtHome(old.home_address, old.home_address4, False)]


def moved(before: Entry | None, after: Entry, keys_follow: bool) -> list[Effect]:
    """Tell keys where packets of a binding go: to the home link, or to which care-of address."""
    old = None if before is None or before.at_home else before.care_of
    new = None if after.at_home else after.care_of
    if before is not None and (old, before.at_home) == (new, after.at_home):
        return []
    return [Moved(after.home_address, old, new, after.at_home, keys_follow)]


def leaves(before: Entry | None, after: Entry) -> bool:
    """Tell whether packets start to go into the tunnel: what protects them comes first then."""
    return not after.at_home and (before is None or before.at_home)


def free_to_register(config: HomeAgentConfig, update: BindingUpdate) -> bool:
    """Tell whether who has the home address on the home link is the one that registers it."""
    return (
        config.home_and_away
        and find(update.options, LinkLayerAddress) is not None
        and wanted(update) is not None
    )


def _place(config: HomeAgentConfig, entry: Entry | None) -> AtHome | None:
    if entry is None or entry.home is None or not entry.at_home:
        return None
    silent = not config.only_router
    return AtHome(entry.home_address, entry.home_address4, True, entry.home.link_layer, silent)
