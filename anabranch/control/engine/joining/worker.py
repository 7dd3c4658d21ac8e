"""The supervisor of a machine that has joined an engine: ``python -m`` with this module, and the
arguments of Ray's command line.

Ray's GCS is on the engine's head. While it is away Ray waits for it, and what runs here goes on.
Where Ray has ended, or the engine is up and does not know this machine any more (its Ray was
started anew, on this head machine or another), the machine joins again, with a new ticket. What
runs here goes on until the engine gives one. The machine ends once it was drained, and where the
engine refuses it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anabranch.client.connection.engine_state import RAY_TOKEN_FILE, read_state, write_state
from anabranch.client.http import EngineUnreachable
from anabranch.control.engine.engine import drain_edge
from anabranch.control.engine.joining.invitation import Invitation, joined, keep
from anabranch.control.engine.joining.search import EngineSearch
from anabranch.control.engine.supervision.helpers import Helper, Helpers, watch_over
from anabranch.control.engine.supervision.supervisor import (
    PYTHON,
    START_TIMEOUT_S,
    Launch,
    Supervisor,
    Watch,
    adopted,
    begin,
    head_command,
    main,
    options,
)
from anabranch.control.nodes.ticket import DRAINED, Ticket
from anabranch.environment import Environment
from anabranch.errors import AnabranchError, EngineError, Unavailable
from anabranch.pulse import PULSE
from anabranch.serve.sockets import FOLDER

ADDRESS = "--address="
"""The beginning of the argument that says where Ray's GCS is."""
UNKNOWN_S = 30.0
"""Time without the engine knowing this machine after which it joins again, in seconds; it is longer
than from one look for an engine that does not answer to the end of the next."""
_PAUSE_S = 2.0

logger = logging.getLogger("anabranch.supervisor")


class MachinePlace:
    """The place of this machine in its engine."""

    def __init__(self, search: EngineSearch) -> None:
        self._search = search
        self._is_empty = False

    def ask(self) -> None:
        """Raise EngineError if the engine says that this machine is no part of it.

        An engine that does not answer says nothing, and what runs here goes on.
        """
        try:
            found = self._search.find()
        except AnabranchError:
            return
        if found is None:
            return
        own = found.own
        if own is None:
            raise EngineError(f"the engine at {found.invitation.url} does not know this machine")
        is_used = own["segments"] or own["ingress"]
        self._is_empty = own["state"] == "draining" and not is_used

    def require_wanted(self) -> None:
        """Raise EngineError once the machine was drained: nothing is left on it."""
        if self._is_empty:
            raise EngineError(f"this machine {DRAINED}")


class WantedWatch:
    """Watches a machine for as long as it has a place."""

    def __init__(self, place: MachinePlace, helpers: Watch) -> None:
        self._place = place
        self._helpers = helpers

    def watch(self, head: int) -> str | None:
        """Mend what can be; EngineError once the machine was drained."""
        self._place.require_wanted()
        return self._helpers.watch(head)

    def forget(self) -> None:
        """Note that all processes are new."""
        self._helpers.forget()


class Rejoin:
    """Joins the engine again."""

    def __init__(self, home: Path, search: EngineSearch, address: str) -> None:
        self._home = home
        self._search = search
        self._address = address

    def __call__(self, launch: Launch, runs: bool, stopping: threading.Event) -> Launch:
        """Wait until the engine gives a ticket, and have the edge here end then; EngineError where
        the engine refuses one.

        Where Ray still runs here, its replicas go on until it is this machine's turn.
        """
        logger.info("waiting for the engine")
        said = ""
        while not stopping.is_set():
            PULSE.beat()
            try:
                found = self._search.find()
                if found is not None:
                    PULSE.beat()
                    ticket = found.invitation.ticket(self._address, again=runs)
                    return self._with(launch, found.invitation, ticket)
            except (EngineUnreachable, Unavailable) as error:
                if str(error) != said:
                    said = str(error)
                    logger.info("%s", said)
            except AnabranchError as error:
                raise EngineError(f"the machine cannot join again: {error}") from None
            stopping.wait(_PAUSE_S)
        return launch

    def _with(self, launch: Launch, invitation: Invitation, ticket: Ticket) -> Launch:
        """Keep what a ticket says, and where the engine is."""
        keep(self._home, invitation.key, ticket)
        logger.info("joining the engine at %s", invitation.url)
        state = read_state(self._home)
        if state is not None:
            write_state(self._home, joined(replace(state, http=invitation.url), ticket))
            drain_edge(state)
        address = f"{ADDRESS}{ticket.gcs}"
        words = [address if one.startswith(ADDRESS) else one for one in launch.head]
        return replace(launch, head=words, env={**os.environ, **ticket.environment})


def _supervisor(arguments: Sequence[str]) -> tuple[Supervisor, Helpers]:
    """The supervisor of a machine with these arguments, as ``join`` makes them, and its watch."""
    home = Environment(os.environ).home
    state, sockets = begin(home), Path(os.environ[FOLDER])
    search = EngineSearch(home, Invitation.of(home, state), os.environ["ANABRANCH_HTTP_PORT"])
    place = MachinePlace(search)
    engine = Helper("the engine", place.ask, "", UNKNOWN_S, "has not known this machine")
    given = options(arguments)
    helpers = watch_over(given, state, home / RAY_TOKEN_FILE, sockets, engine)
    arrival = "anabranch.control.engine.joining.arrival", "--timeout", str(START_TIMEOUT_S)
    launch = Launch(head_command(arguments), [*PYTHON, *arrival], home, [sockets])
    rejoin = Rejoin(home, search, given["--node-ip-address"])
    watch = WantedWatch(place, helpers)
    return Supervisor(state, launch, watch, adopted(), rejoin), helpers


if __name__ == "__main__":
    main(_supervisor)
