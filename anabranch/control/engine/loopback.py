"""Keeps Ray on the loopback interface.

Ray replaces 127.0.0.1 by the machine's address, and then opens its own ports, which know no
password, on every interface. Told to take 127.0.0.1 as it is, it listens there only. The port by
which Serve's replicas call each other is on every interface whatever the address is: it takes
pickles from anyone, so it is moved as well.
"""

from __future__ import annotations

import os
from typing import Any

from anabranch.control.nodes.shared import LOOPBACK


def keep_loopback() -> None:
    """Make this process stay on loopback, if its engine is to; runs first in each of them."""
    if os.environ.get(LOOPBACK) != "1":
        return
    from ray._common import tls_utils
    from ray._private import services

    services.resolve_ip_for_localhost = lambda host: host
    bind: Any = tls_utils.add_port_to_grpc_server

    def bind_loopback(server: Any, address: str) -> Any:
        return bind(server, address.replace("[::]:", "127.0.0.1:"))

    tls_utils.add_port_to_grpc_server = bind_loopback
