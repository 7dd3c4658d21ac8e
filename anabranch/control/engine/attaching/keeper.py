"""The supervisor of an engine on a Ray that somebody else has started: ``python -m``.

It looks after the engine's processes on this machine, and after nothing of Ray's. Where that Ray
has ended it waits until one answers at the same address, and brings the engine up there anew, with
all graphs of the store.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from anabranch.control.engine import processes
from anabranch.control.engine.supervision.excess import ExcessiveProcesses
from anabranch.control.engine.supervision.heartbeats import Heartbeats
from anabranch.control.engine.supervision.helpers import Helpers, answers_at
from anabranch.control.engine.supervision.snapshot import Lookout
from anabranch.control.engine.supervision.stopped import StoppedProcesses
from anabranch.control.engine.supervision.supervisor import (
    ATTACH,
    PYTHON,
    START_TIMEOUT_S,
    Launch,
    Supervisor,
    begin,
    main,
)
from anabranch.control.settings.process_bounds import ProcessBounds
from anabranch.environment import Environment
from anabranch.pulse import PULSE
from anabranch.serve.sockets import FOLDER, tcp_connection

_PAUSE_S, _CONNECT_S = 2.0, 2.0
_PACKAGE = "anabranch.control.engine.attaching"

logger = logging.getLogger("anabranch.supervisor")


def arguments(address: str) -> list[str]:
    """The arguments of the supervisor of an engine on the Ray at an address."""
    return [ATTACH, address]


class Return:
    """Waits for the Ray at an address to come back."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, launch: Launch, runs: bool, stopping: threading.Event) -> Launch:
        """Return once something answers there, or ``stopping`` is set."""
        logger.info("waiting for the Ray at %s", self._address)
        while not stopping.is_set():
            PULSE.beat()
            with suppress(OSError):
                tcp_connection(self._address, _CONNECT_S).close()
                break
            stopping.wait(_PAUSE_S)
        return launch


def _supervisor(arguments: Sequence[str]) -> tuple[Supervisor, Helpers]:
    """The supervisor with these arguments, and its watch."""
    _, address = arguments
    home, sockets = Environment(os.environ).home, Path(os.environ[FOLDER])
    state = begin(home)
    runtime = Path(state.runtime)
    watch = Helpers(
        [],
        answers_at(state),
        Heartbeats(sockets),
        Lookout(
            StoppedProcesses(lambda pid: processes.belongs(pid, state.id, runtime)),
            ExcessiveProcesses(sockets, ProcessBounds.from_env()),
        ),
    )
    presence = [*PYTHON, f"{_PACKAGE}.presence", address]
    driver = [*PYTHON, f"{_PACKAGE}.driver", address, "--timeout", str(START_TIMEOUT_S)]
    launch = Launch(presence, driver, home, [sockets])
    return Supervisor(state, launch, watch, renew=Return(address)), watch


if __name__ == "__main__":
    main(_supervisor)
