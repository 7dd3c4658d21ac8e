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
from pathlib import Path

from anabranch.control.engine.supervision.helpers import Helpers, answers_at, own_processes
from anabranch.control.engine.supervision.supervisor import (
    PYTHON,
    START_TIMEOUT_S,
    Launch,
    Supervisor,
    begin,
    main,
)
from anabranch.environment import Environment
from anabranch.pulse import PULSE
from anabranch.serve.sockets import FOLDER, accepts

_PAUSE_S, _CONNECT_S = 2.0, 2.0
_PACKAGE = "anabranch.control.engine.attaching"

logger = logging.getLogger("anabranch.supervisor")


class Return:
    """Waits for the Ray at an address to come back."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, launch: Launch, runs: bool, stopping: threading.Event) -> Launch:
        """Return once something answers there, or ``stopping`` is set."""
        logger.info("waiting for the Ray at %s", self._address)
        while not (stopping.is_set() or accepts(self._address, _CONNECT_S)):
            PULSE.beat()
            stopping.wait(_PAUSE_S)
        return launch


def _supervisor(arguments: Sequence[str]) -> tuple[Supervisor, Helpers]:
    _, address = arguments
    home, sockets = Environment(os.environ).home, Path(os.environ[FOLDER])
    state = begin(home)
    watch = Helpers([], answers_at(state), *own_processes(state, sockets))
    presence = [*PYTHON, f"{_PACKAGE}.presence", address]
    driver = [*PYTHON, f"{_PACKAGE}.driver", address, "--timeout", str(START_TIMEOUT_S)]
    launch = Launch(presence, driver, home, [sockets])
    return Supervisor(state, launch, watch, renew=Return(address)), watch


if __name__ == "__main__":
    main(_supervisor)
