# SPDX-License-Identifier: GPL-2.0-only
"""Keys from another process that follows the kernel, such as an unpatched charon.

Policies are ours, with request ids that its configuration names too. It hears of
a movement by MIGRATE with KMADDRESS, which every movement plan announces, and
nothing else passes between it and us.
"""

from __future__ import annotations

import logging

from ..ipsec.movement import Ability
from .ike_config import Manager
from .keys import Guard, SecurityDatabase

log = logging.getLogger(__name__)


class ExternalKeys(Guard):
    """Members whose associations somebody else installs, renews and removes."""

    manager = Manager.EXTERNAL

    def __init__(self, database: SecurityDatabase) -> None:
        super().__init__(database)
        if database.ability is Ability.NONE:
            log.error(
                "this kernel has no MIGRATE (CONFIG_XFRM_MIGRATE): an external key manager "
                'does not hear of movements, use keys = "ikev2"'
            )
