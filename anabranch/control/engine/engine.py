"""Starts and stops an engine: a private Ray with Serve, the gateway and the controller on it.

``up`` leaves background processes behind, a folder in the system's temporary directory, and
``engine.json`` in the home. ``down`` removes exactly those. Whatever went wrong in between, a
crash or a loss of power, the next ``up`` or ``down`` cleans up what the last one left.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from anabranch.client.engine_state import (
    RAY_TOKEN_FILE,
    EngineInfo,
    EngineState,
    clear_state,
    read_state,
    write_state,
)
from anabranch.client.live import wait_live
from anabranch.control.engine import flags, ports, processes
from anabranch.control.engine.tokens import ensure_token
from anabranch.errors import EngineError
from anabranch.serve.sockets import FOLDER
from anabranch.specs.units import Size

START_TIMEOUT_S = 180.0
"""Longest time that ``up`` may take."""
ANSWER_TIMEOUT_S = 30.0
"""How long an engine that already runs may take to answer."""
LOCK_TIMEOUT_S = 60.0
"""How long ``up`` and ``down`` wait for each other."""
RUNTIME_PREFIX = "anab-"
_LOG_LINES = 15
_PAUSE_S = 0.05

Say = Callable[[str], None]


@dataclass(frozen=True)
class EngineOptions:
    """Options of an engine's start. Sizes are such as 64MiB."""

    http_host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 9000
    dashboard_port: int = 8265
    max_body: str = "64MiB"
    object_store: str = "512MiB"
    dashboard_host: str = "127.0.0.1"

    def host(self) -> str:
        """The host as an IPv4 address; EngineError if it is none."""
        return _address("--host", self.http_host)

    def dashboard(self) -> str:
        """The host of the Ray dashboard, likewise."""
        return _address("--dashboard-host", self.dashboard_host)

    def is_loopback(self) -> bool:
        """Return whether nothing outside this machine may reach the engine."""
        return ipaddress.IPv4Address(self.host()).is_loopback

    def reached_at(self) -> str:
        """The address at which this machine reaches the engine."""
        return _reached_at(self.host())


def _address(option: str, text: str) -> str:
    try:
        return str(ipaddress.IPv4Address("127.0.0.1" if text == "localhost" else text))
    except ValueError:
        raise EngineError(
            f"{option} {text!r} is not an IPv4 address such as 127.0.0.1 or 0.0.0.0"
        ) from None


def _reached_at(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else host


def _silent(message: str) -> None:
    """Say nothing."""


def up(
    home: Path,
    options: EngineOptions | None = None,
    *,
    say: Say = _silent,
    warn: Say = _silent,
) -> EngineInfo:
    """Start the engine of ``home`` and wait until it answers; if it runs already, leave it alone.

    Raises EngineError: a port in use, a start that failed (everything is taken down again), an
    engine that runs and does not answer.
    """
    options = options or EngineOptions()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(home):
        state = read_state(home)
        if state is not None and is_running(state):
            return _join(home, state, say)
        if state is not None:
            say("clearing up after an engine that did not stop by itself")
            _take_down(home, state)
        return _start(home, options, say, warn)


def down(home: Path) -> bool:
    """Stop the engine of ``home`` and all it started; False if there was none.

    Raises EngineError if a process cannot be ended.
    """
    if not home.is_dir():
        return False
    with _locked(home):
        state = read_state(home)
        if state is not None:
            _take_down(home, state)
        return state is not None


def is_running(state: EngineState) -> bool:
    """Return whether the engine was started to the end and its head process lives."""
    return state.ready and state.pid is not None and processes.has_mark(state.pid, state.id)


def _join(home: Path, state: EngineState, say: Say) -> EngineInfo:
    say(f"the engine in {home} is already up")
    try:
        wait_live(state.http, ANSWER_TIMEOUT_S)
    except EngineError as error:
        raise EngineError(
            f"the engine in {home} runs, but {error}: restart it with"
            " `anabranch down` and `anabranch up`"
        ) from error
    return state.info(home)


def _start(home: Path, options: EngineOptions, say: Say, warn: Say) -> EngineInfo:
    host = options.host()
    ports.require_free(host, {"--http-port": options.http_port, "--grpc-port": options.grpc_port})
    ports.require_free(options.dashboard(), {"--dashboard-port": options.dashboard_port})
    block = ports.claim(str(home))
    state = _new_state(home, options, block)
    write_state(home, state)
    try:
        state = _launch(home, options, state, block, say, warn)
    except BaseException:
        _take_down(home, state)
        raise
    finally:
        block.guard.close()
    return state.info(home)


def _new_state(home: Path, options: EngineOptions, block: ports.PortBlock) -> EngineState:
    host = options.reached_at()
    return EngineState(
        id=uuid.uuid4().hex,
        http=f"http://{host}:{options.http_port}",
        grpc=f"{host}:{options.grpc_port}",
        dashboard=f"http://{_reached_at(options.dashboard())}:{options.dashboard_port}",
        address=f"127.0.0.1:{block.fixed['gcs']}",
        runtime=str(_new_runtime()),
    )


def _new_runtime() -> Path:
    """A private folder for sockets, short enough for the names of those in it."""
    base = tempfile.gettempdir()
    fits = len(f"{base}/{RUNTIME_PREFIX}12345678".encode()) <= flags.LONGEST_FOLDER
    return Path(tempfile.mkdtemp(prefix=RUNTIME_PREFIX, dir=base if fits else "/tmp"))


def _launch(
    home: Path,
    options: EngineOptions,
    state: EngineState,
    block: ports.PortBlock,
    say: Say,
    warn: Say,
) -> EngineState:
    env = _environment(home, options, state, block, warn)
    Path(env[FOLDER]).mkdir(mode=0o700)
    say("starting Ray and Serve")
    head = _spawn("head", _head_arguments(options, state, block), home, env, block)
    state = replace(state, pid=head.pid)
    write_state(home, state)
    arguments = [state.address, "--timeout", str(START_TIMEOUT_S)]
    driver = _spawn("driver", arguments, home, env)
    _wait_for(driver, head, home)
    state = replace(state, ready=True)
    write_state(home, state)
    return state


def _environment(
    home: Path, options: EngineOptions, state: EngineState, block: ports.PortBlock, warn: Say
) -> dict[str, str]:
    if not options.is_loopback():
        warn(
            f"{options.http_host} can be reached from other machines, and so can the ports of"
            " Ray, whose token travels unencrypted: let only trusted machines through to this one"
        )
    if not ipaddress.IPv4Address(options.dashboard()).is_loopback:
        warn(
            f"the Ray dashboard on {options.dashboard_host} runs code for whoever has its token,"
            " which travels unencrypted: let only trusted machines through to it"
        )
    ray_token = home / RAY_TOKEN_FILE
    ensure_token(ray_token)
    return {
        **flags.base_environment(state.id, block, options.is_loopback(), ray_token),
        **flags.serve_environment(),
        **flags.zygote_environment(Path(state.runtime)),
        **flags.edge_environment(Path(state.runtime), _haproxy(warn)),
        "ANABRANCH_HOME": str(home),
        "ANABRANCH_HTTP_HOST": options.host(),
        "ANABRANCH_HTTP_PORT": str(options.http_port),
        "ANABRANCH_GRPC_PORT": str(options.grpc_port),
        "ANABRANCH_MAX_BODY": str(_bytes("--max-body", options.max_body)),
    }


def _haproxy(warn: Say) -> str | None:
    binary = flags.haproxy_binary()
    problem = flags.haproxy_problem(binary)
    if problem is None:
        return binary
    warn(f"HAProxy cannot run here, so the slower gateway and front take its place: {problem}")
    return None


def _head_arguments(
    options: EngineOptions, state: EngineState, block: ports.PortBlock
) -> list[str]:
    fixed = block.fixed
    wanted: dict[str, object] = {
        "--port": fixed["gcs"],
        "--object-manager-port": fixed["object_manager"],
        "--node-manager-port": fixed["node_manager"],
        "--dashboard-agent-listen-port": fixed["agent_http"],
        "--dashboard-agent-grpc-port": fixed["agent_grpc"],
        "--runtime-env-agent-port": fixed["runtime_env_agent"],
        "--metrics-export-port": fixed["metrics"],
        "--worker-port-list": ",".join(map(str, block.workers)),
        "--dashboard-host": options.dashboard(),
        "--dashboard-port": options.dashboard_port,
        "--include-dashboard": "true",
        "--include-log-monitor": "false",
        "--object-store-memory": _bytes("--object-store", options.object_store),
        "--temp-dir": Path(state.runtime) / "ray",
    }
    if options.host() != "0.0.0.0":
        wanted["--node-ip-address"] = options.host()
    listed = [f"{option}={value}" for option, value in wanted.items()]
    return ["start", "--head", "--block", "--no-monitor", "--disable-usage-stats", *listed]


def _bytes(option: str, text: str) -> int:
    try:
        return int(Size.parse(text))
    except ValueError as error:
        raise EngineError(f"{option}: {error}") from None


def _spawn(
    module: str,
    arguments: list[str],
    home: Path,
    env: dict[str, str],
    block: ports.PortBlock | None = None,
) -> subprocess.Popen[bytes]:
    """Start a module of ours in a session of its own; its output goes to the home's logs."""
    log = _log(home, module)
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", f"anabranch.control.engine.{module}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=home,
            start_new_session=True,
            pass_fds=[block.guard.fileno()] if block is not None else [],
        )


def _wait_for(driver: subprocess.Popen[bytes], head: subprocess.Popen[bytes], home: Path) -> None:
    """Wait until the driver has done its work; EngineError with the end of a log if it has not."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while driver.poll() is None:
        if head.poll() is not None:
            raise _failure("Ray ended while starting", _log(home, "head"))
        if time.monotonic() > deadline:
            raise _failure(f"not up after {START_TIMEOUT_S:.0f} s", _log(home, "driver"))
        time.sleep(_PAUSE_S)
    if driver.returncode != 0:
        raise _failure("the control plane did not start", _log(home, "driver"))


def _failure(reason: str, log: Path) -> EngineError:
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    shown = "".join(f"\n  {line}" for line in lines)
    return EngineError(f"the engine did not start: {reason}; the end of {log}:{shown}")


def _log(home: Path, module: str) -> Path:
    return home / "logs" / f"{module}.log"


def _take_down(home: Path, state: EngineState) -> None:
    runtime = Path(state.runtime)
    processes.stop(state.id, state.pid, runtime)
    if runtime.name.startswith(RUNTIME_PREFIX):
        shutil.rmtree(runtime, ignore_errors=True)
    clear_state(home)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold the home's lock; EngineError if another ``up`` or ``down`` keeps it too long."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    handle = os.open(home / "engine.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try_lock(handle):
            if time.monotonic() > deadline:
                raise EngineError(f"another `anabranch up` or `down` is at work in {home}")
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
