"""An engine waits for a Ray that has ended until one answers there again."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from anabranch.control.engine.attaching.keeper import Return
from anabranch.control.engine.supervision.supervisor import Launch

LAUNCH = Launch(["presence"], ["driver"], Path("/home"))


def test_it_goes_on_as_soon_as_something_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        come_back = Return(f"127.0.0.1:{server.getsockname()[1]}")
        assert come_back(LAUNCH, False, threading.Event()) is LAUNCH


def test_it_gives_up_when_the_engine_is_stopped() -> None:
    stopping = threading.Event()
    stopping.set()
    assert Return("127.0.0.1:1")(LAUNCH, False, stopping) is LAUNCH
