"""Makes this machine a part of an engine whose head is elsewhere, and takes it out again.

``join`` leaves background processes behind, a folder in the system's temporary directory, and in
the home ``engine.json``, the key and the engine's secrets. ``leave`` removes exactly those.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

from anabranch.client.connection.engine_state import (
    EngineState,
    clear_state,
    read_state,
    write_state,
)
from anabranch.client.http import EngineUnreachable
from anabranch.control.engine import ports, service
from anabranch.control.engine.engine import end, is_running, launch
from anabranch.control.engine.home import locked, open_home, open_mode
from anabranch.control.engine.joining.invitation import (
    Invitation,
    forget,
    joined,
    keep,
    own_address,
    require_reachable,
    url_of,
)
from anabranch.control.engine.joining.worker import ADDRESS
from anabranch.control.engine.launch import (
    Say,
    haproxy,
    machine_arguments,
    machine_environment,
    start_arguments,
)
from anabranch.control.engine.runtime import make_runtime
from anabranch.control.nodes.options import MachineOptions
from anabranch.control.nodes.ticket import DRAINED, Ticket
from anabranch.control.settings.tls import in_force
from anabranch.errors import AnabranchError, EngineError

DRAIN_S = 60.0
"""Time in seconds that replicas have to move from a machine in the foreground that is to end."""


@dataclass(frozen=True)
class JoinOptions:
    """Where the engine is (``host:port`` or a URL), and what this machine has."""

    engine: str
    key: str = field(repr=False)
    machine: MachineOptions = field(default_factory=MachineOptions)


def join(home: Path, options: JoinOptions, *, say: Say, warn: Say) -> EngineState:
    """Join an engine, and wait until it counts this machine.

    Raises EngineError: a home with an engine of its own, or that others can read; an engine that
    cannot be reached, or refuses the key; a start that failed (everything is taken down again).
    Conflict where the engine lets no such machine in.
    """
    url = url_of(options.engine)
    open_home(home, warn)
    shared = open_mode(home)
    if shared is not None:
        raise EngineError(f"others can read {home} ({shared}), where the engine's secrets go")
    with locked(home):
        before = read_state(home)
        _require_free(home, before)
        if before is not None:
            say("clearing up after a machine that did not leave by itself")
            _take_out(home, before)
        return _joined(home, url, options, say, warn)


def _require_free(home: Path, state: EngineState | None) -> None:
    if state is not None and not state.joined:
        raise EngineError(
            f"{home} has an engine of its own: `anabranch down` stops it, --home names another home"
        )
    if state is not None and is_running(state):
        raise EngineError(
            f"the machine of {home} has joined the engine at {state.http} already: `anabranch"
            " leave` takes it out"
        )


def _joined(home: Path, url: str, options: JoinOptions, say: Say, warn: Say) -> EngineState:
    state = EngineState(uuid.uuid4().hex, url, "", "", "", "", joined=True)
    address = own_address(url)
    options.machine.arguments(state.id)  # what is wrong with them is said before anything begins
    ticket = Invitation(url, options.key, state.id).ticket(address)
    require_reachable(ticket.gcs)
    if url.startswith("http:"):
        warn(f"{url} is not encrypted: the engine's secrets travel in the open to this machine")
    state = joined(replace(state, runtime=str(make_runtime())), ticket)
    block = ports.claim(str(home))
    write_state(home, state)
    try:
        keep(home, options.key, ticket)
        say(f"joining the engine at {url}")
        binary = haproxy(warn, needs_tls=False)
        env = _environment(home, state, block, address, binary, ticket)
        arguments = _arguments(options.machine, state, block, address, ticket)
        return launch(home, state, env, arguments, block.guard, "the machine did not join")
    except BaseException:
        _take_out(home, state)
        raise
    finally:
        block.guard.close()


def _environment(
    home: Path,
    state: EngineState,
    block: ports.PortBlock,
    address: str,
    binary: str | None,
    ticket: Ticket,
) -> dict[str, str]:
    return {
        **machine_environment(home, state, block, False, binary),
        **ticket.environment,
        "ANABRANCH_HTTP_HOST": address,
    }


def _arguments(
    options: MachineOptions,
    state: EngineState,
    block: ports.PortBlock,
    address: str,
    ticket: Ticket,
) -> list[str]:
    own = {"--node-ip-address": address, **machine_arguments(options, state, block)}
    return start_arguments([f"{ADDRESS}{ticket.gcs}"], own)


def leave(home: Path, timeout: float, *, at_once: bool, say: Say) -> bool:
    """Take the machine of a home out of its engine; return whether it was in one.

    Its replicas move to other machines first, for at most ``timeout`` seconds, unless ``at_once``.
    Raises EngineError if an engine of its own is there, or its engine does not answer; DeployError
    where replicas are left, with what there is no room for elsewhere.
    """
    if not home.is_dir():
        return False
    with locked(home):
        state = read_state(home)
        if state is None:
            return False
        if not state.joined:
            raise EngineError(f"{home} has an engine of its own, which `anabranch down` stops")
        if is_running(state) and not at_once:
            _drain(home, state, timeout, say)
        say("stopping Ray on this machine")
        _take_out(home, state)
        return True


def stay(home: Path, *, say: Say, warn: Say) -> None:
    """Return when the machine of a home has left, which SIGTERM and SIGINT have it do.

    What cannot be moved within ``DRAIN_S`` ends with it. A machine that is drained has left, too.
    EngineError if it ends otherwise.
    """

    def leave_soon() -> None:
        try:
            leave(home, DRAIN_S, at_once=False, say=say)
        except AnabranchError as error:
            warn(f"{error}; what is left here ends now")
            leave(home, 0, at_once=True, say=say)

    try:
        service.stay(home, leave_soon)
    except EngineError as error:
        if DRAINED not in str(error):
            raise
        say("this machine was drained")
        leave(home, 0, at_once=True, say=say)


def _drain(home: Path, state: EngineState, timeout: float, say: Say) -> None:
    """Have all replicas moved, if the engine still knows this machine."""
    invitation = Invitation.of(home, state)
    try:
        if invitation.seen() is None:
            return
        say("moving the replicas of this machine to others")
        with invitation.client() as control:
            control.until_drained(state.id, timeout, say)
    except EngineUnreachable as error:
        raise EngineError(
            f"{error}; so nothing can be moved to other machines: `anabranch leave --now` stops"
            " what runs here all the same"
        ) from None


def _take_out(home: Path, state: EngineState) -> None:
    end(state)
    in_force(home).remove()
    forget(home)
    clear_state(home)
