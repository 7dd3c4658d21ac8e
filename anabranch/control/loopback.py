"""Keeps Ray on the loopback interface.

Ray replaces 127.0.0.1 by the machine's address, and then opens its own ports, which know no
password, on every interface. Told to take 127.0.0.1 as it is, it listens there only.
"""

from __future__ import annotations

import os

from anabranch.control.flags import LOOPBACK


def keep_loopback() -> None:
    """Make this process take 127.0.0.1 literally, if the engine is to stay on loopback."""
    from ray._private import services

    if os.environ.get(LOOPBACK) == "1":
        services.resolve_ip_for_localhost = lambda host: host
