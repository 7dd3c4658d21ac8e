"""Starts and stops an engine: a private Ray with Serve, the gateway and the controller on it.

With ``--address`` the engine is on a Ray that somebody else has started (``attaching``).
``up`` leaves background processes behind, a folder in the system's temporary directory, and
``engine.json`` in the home. ``down`` removes exactly those. Whatever went wrong in between, a
crash or a loss of power, the next ``up`` or ``down`` cleans up what the last one left.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from anabranch.client.connection.engine_state import (
    FILE,
    EngineInfo,
    EngineState,
    clear_state,
    read_state,
    write_state,
)
from anabranch.client.live import wait_live
from anabranch.control.access.authority import remove_certificates
from anabranch.control.engine import ports, processes
from anabranch.control.engine.attaching import commands
from anabranch.control.engine.attaching.environment import environment as attached_environment
from anabranch.control.engine.home import examine_store, fold_store, locked, open_home
from anabranch.control.engine.launch import (
    EngineOptions,
    Say,
    environment,
    head_arguments,
    reached_at,
)
from anabranch.control.engine.runtime import make_runtime, remove_runtime
from anabranch.control.engine.supervision import supervisor
from anabranch.control.settings.ray_tls import RayTls
from anabranch.control.settings.tls import in_force
from anabranch.errors import EngineError
from anabranch.files import disk_errors
from anabranch.serve.attached.place import SECRET_FILE
from anabranch.serve.edge.process import drain
from anabranch.serve.edge.tls.certificates import load
from anabranch.serve.sockets import SOCKETS

ANSWER_TIMEOUT_S = 60.0
"""How long an engine that already runs may take to answer; its supervisor may be mending it."""
ADOPTION_S = 10.0
"""How long an engine may be without a supervisor."""
_PAUSE_S, _TURN_S = 0.05, 0.5


def _silent(message: str) -> None:
    """Say nothing."""


def up(
    home: Path,
    options: EngineOptions | None = None,
    *,
    say: Say = _silent,
    warn: Say = _silent,
) -> EngineInfo:
    """Start the engine of ``home`` and wait until it answers; leave one alone that answers already.

    One that runs and does not answer is stopped first. Raises EngineError: a port in use, a damaged
    store, a certificate that cannot be used, or a start that failed (everything is taken down
    again); StorageError if the home takes no files.
    """
    options = options or EngineOptions()
    open_home(home, warn)
    with locked(home):
        state = read_state(home)
        _require_head(state, home)
        if state is not None and is_running(state):
            say(f"the engine in {home} is already up")
            if _answers(state):
                return state.info(home)
            say("it does not answer, so it is started anew")
        elif state is not None:
            say("clearing up after an engine that did not stop by itself")
        if state is not None:
            _take_down(home, state)
        return _start(home, options, say, warn)


def down(home: Path) -> bool:
    """Stop the engine of ``home`` and all it started; False if there was none.

    Raises EngineError if a process cannot be ended, and on a machine that has joined an engine;
    StorageError if the home keeps the state of the engine that has ended, since its disk takes
    nothing.
    """
    if not home.is_dir():
        return False
    with locked(home):
        state = read_state(home)
        _require_head(state, home)
        if state is not None:
            _take_down(home, state)
        return state is not None


def _require_head(state: EngineState | None, home: Path) -> None:
    if state is not None and state.joined:
        raise EngineError(
            f"the machine of {home} has joined the engine at {state.http}, which runs elsewhere:"
            " `anabranch leave` takes the machine out of it"
        )


def is_running(state: EngineState) -> bool:
    """Return whether the engine was started to the end and its supervisor lives."""
    if not state.ready or state.pid is None:
        return False
    return processes.belongs(state.pid, state.id, Path(state.runtime))


def until_ended(home: Path) -> str:
    """Wait until the engine of ``home`` has ended; the reason, or nothing if ``down`` ended it.

    A machine that has joined another one ends, too, when it becomes the head's of its own.
    """
    since, first = time.monotonic(), read_state(home)
    while (state := read_state(home)) and first and state.joined == first.joined:
        now = time.monotonic()
        if is_running(state):
            since = now
        elif now - since > ADOPTION_S:
            return state.problem or f"its supervisor has ended: see {home / supervisor.LOG}"
        time.sleep(_TURN_S)
    return ""


def _answers(state: EngineState) -> bool:
    try:
        wait_live(state.http, ANSWER_TIMEOUT_S)
    except EngineError:
        return False
    return True


@dataclass(frozen=True)
class _Ground:
    """The Ray that an engine is started on: where its GCS and its dashboard are.

    The supervisor has this environment and these arguments, and inherits ``guard``, if any.
    """

    address: str
    dashboard: str
    environment: Callable[[EngineState], Mapping[str, str]]
    arguments: Callable[[EngineState], list[str]]
    guard: socket | None = None


def _own_ray(home: Path, options: EngineOptions, warn: Say) -> _Ground:
    dashboard = options.dashboard()
    ports.require_own("--dashboard-host", dashboard)
    ports.require_free(dashboard, {"--dashboard-port": options.dashboard_port})
    block = ports.claim(str(home))
    return _Ground(
        address=f"127.0.0.1:{block.fixed['gcs']}",
        dashboard=f"http://{reached_at(dashboard)}:{options.dashboard_port}",
        environment=lambda state: environment(home, options, state, block, warn),
        arguments=lambda state: head_arguments(options, state, block),
        guard=block.guard,
    )


def _other_ray(home: Path, options: EngineOptions, warn: Say) -> _Ground:
    found = commands.examine(options.address, home, options.ports())
    for text in found.warnings:
        warn(text)
    return _Ground(
        address=found.address,
        dashboard=found.dashboard,
        environment=lambda state: attached_environment(home, options, state, found, warn),
        arguments=lambda _: [supervisor.ATTACH, found.address],
    )


def _start(home: Path, options: EngineOptions, say: Say, warn: Say) -> EngineInfo:
    host = options.host()
    files = options.tls()
    certificates = None if files is None else load(files)
    examine_store(home, warn)
    ports.require_own("--host", host)
    ports.require_free(host, options.ports())
    if options.address:
        say("examining Ray")
    ground = (_other_ray if options.address else _own_ray)(home, options, warn)
    copies = in_force(home, files)
    state = _new_state(options, ground, "" if files is None else str(copies.trusted))
    write_state(home, state)
    try:
        if certificates is not None:
            copies.install(certificates)
        env, arguments = ground.environment(state), ground.arguments(state)
        say("starting the engine on that Ray" if options.address else "starting Ray and Serve")
        state = launch(home, state, env, arguments, ground.guard, "the engine did not start")
    except BaseException:
        _take_down(home, read_state(home) or state)
        raise
    finally:
        if ground.guard is not None:
            ground.guard.close()
    return state.info(home)


def _new_state(options: EngineOptions, ground: _Ground, trusted: str) -> EngineState:
    host, scheme = options.reached_at(), "https" if trusted else "http"
    return EngineState(
        id=uuid.uuid4().hex,
        http=f"{scheme}://{host}:{options.http_port}",
        grpc=f"{host}:{options.grpc_port}",
        dashboard=ground.dashboard,
        address=ground.address,
        runtime=str(make_runtime()),
        trusted=trusted,
        attached=bool(options.address),
    )


def launch(
    home: Path,
    state: EngineState,
    env: Mapping[str, str],
    arguments: list[str],
    guard: socket | None,
    failure: str,
) -> EngineState:
    """Start the supervisor of a machine, and wait until it says that all is up there.

    Raises EngineError, which begins with ``failure``, if that does not come, and before anything
    begins where Ray is to speak TLS without certificates.
    """
    RayTls.from_env(env)
    for name in ("head", "driver"):
        (home / "logs" / f"{name}.log").unlink(missing_ok=True)
    started = supervisor.start(arguments, env, fds=[] if guard is None else [guard.fileno()])
    while started.poll() is None:
        now = read_state(home)
        if now is not None and now.ready:
            return now
        time.sleep(_PAUSE_S)
    now = read_state(home) or state
    reason = now.problem or supervisor.end_of(home / supervisor.LOG)
    raise EngineError(f"{failure}: {reason}")


def end(state: EngineState) -> None:
    """Stop all that was started on a machine, and remove its private folder.

    An engine on a Ray of somebody else is removed from all of that first; EngineError where that
    fails.
    """
    runtime = Path(state.runtime)
    if state.attached:
        processes.stop_leader(state.id, state.pid, runtime)
        commands.detach(state)
    processes.stop(state.id, state.pid, runtime)
    remove_runtime(runtime)


def drain_edge(state: EngineState) -> None:
    """Have the edge of a machine that is about to end answer what it has, and accept no more."""
    runtime = Path(state.runtime)
    drain(runtime / SOCKETS, lambda pid: processes.belongs(pid, state.id, runtime))


def _take_down(home: Path, state: EngineState) -> None:
    end(state)
    with disk_errors(home / FILE):  # nothing runs any more, whatever the disk takes
        in_force(home).remove()
        remove_certificates(home)
        (home / SECRET_FILE).unlink(missing_ok=True)
        fold_store(home)
        clear_state(home)
