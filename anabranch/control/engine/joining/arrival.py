"""Waits until the engine counts this machine: ``python -m`` with this module.

Runs beside Ray's process on a machine that joins. Everything it needs is in the home.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from anabranch.client.connection.engine_state import read_state
from anabranch.client.http import EngineUnreachable
from anabranch.control.engine.joining.invitation import Invitation
from anabranch.environment import Environment
from anabranch.errors import AnabranchError, EngineError, Unavailable

_PAUSE_S = 0.2


def main() -> None:
    """Wait until the machine of this process's home is there; exit 1 with the reason if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--timeout", type=float, required=True)
    timeout: float = parser.parse_args().timeout
    try:
        wait(Environment(os.environ).home, time.monotonic() + timeout)
    except AnabranchError as error:
        sys.exit(f"error: {error}")


def wait(home: Path, deadline: float) -> None:
    """Wait until the engine counts the machine of a home, and at most until ``deadline``."""
    state = read_state(home)
    if state is None:
        raise EngineError(f"no machine is being started in {home}")
    invitation = Invitation.of(home, state)
    while not _is_known(invitation):
        if time.monotonic() > deadline:
            raise EngineError(f"the engine at {state.http} does not see this machine")
        time.sleep(_PAUSE_S)


def _is_known(invitation: Invitation) -> bool:
    try:
        return invitation.seen() is not None
    except (EngineUnreachable, Unavailable):
        return False


if __name__ == "__main__":
    main()
