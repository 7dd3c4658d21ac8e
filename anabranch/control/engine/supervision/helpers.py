"""Ray's helper processes of an engine: whether each answers, and the end of one that does not.

GCS and raylet answer gRPC's health protocol (``grpc.health.v1``), the others HTTP.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import grpc
import httpx
import psutil

from anabranch.client.connection.engine_state import EngineState
from anabranch.control.engine import processes
from anabranch.control.engine.launch import reached_at
from anabranch.control.engine.supervision.excess import ExcessiveProcesses
from anabranch.control.engine.supervision.grown import GrownController
from anabranch.control.engine.supervision.heartbeats import Heartbeats
from anabranch.control.engine.supervision.snapshot import Lookout
from anabranch.control.engine.supervision.stopped import StoppedProcesses
from anabranch.control.settings.process_bounds import ProcessBounds
from anabranch.control.settings.ray_tls import RayTls
from anabranch.errors import EngineError

logger = logging.getLogger("anabranch.supervisor")

QUICK_S, PATIENT_S = 20.0, 60.0
"""Time without an answer after which a process is killed: one that the head replaces alone, and one
that takes Ray along. A busy machine makes all of them slow."""
SILENT_S = 90.0
"""Time without an answer of the engine after which Ray is started anew."""
_LOOK_S = 5.0
"""Time without an answer after which the process is looked for."""
_PAUSE_S = 2.0
_ENGINE_PAUSE_S = 10.0
_TIMEOUT_S = 2.0

Ask = Callable[[], None]
"""Asks a process; returns once that has answered, and raises an Exception if it has not."""


class Lost(Protocol):
    """Finds processes of the engine that must be replaced, such as those that cannot answer."""

    def kill(self) -> None:
        """Kill them; to be called often."""


@dataclass(frozen=True)
class Helper:
    """A process that an engine needs."""

    name: str
    ask: Ask
    title: str
    """A part of its command line that no other helper has."""
    patience: float
    lacks: str = "has not answered"
    """What is wrong where it is silent."""


@dataclass
class _Watched:
    helper: Helper
    answered: float = field(default_factory=time.monotonic)

    def follow(self, closing: threading.Event, pause: float) -> None:
        while not closing.wait(pause):
            with suppress(Exception):
                self.helper.ask()
                self.answered = time.monotonic()


class Helpers:
    """Asks each helper of an engine every two seconds, and the engine itself now and then."""

    def __init__(self, helpers: list[Helper], engine: Helper, *lost: Lost) -> None:
        self._lost = lost
        self._helpers = [_Watched(helper) for helper in helpers]
        self._engine = _Watched(engine)
        self._closing = threading.Event()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask in the background."""
        paced = [*((one, _PAUSE_S) for one in self._helpers), (self._engine, _ENGINE_PAUSE_S)]
        for watched, pause in paced:
            arguments = self._closing, pause
            threading.Thread(target=watched.follow, args=arguments, daemon=True).start()
        try:
            yield
        finally:
            self._closing.set()

    def watch(self, head: int) -> str | None:
        """Kill what is lost, and children of ``head`` that do not answer.

        Returns why Ray must be started anew, if it must.
        """
        for one in self._lost:
            one.kill()
        now = time.monotonic()
        silent = [one for one in self._helpers if now - one.answered > _LOOK_S]
        if silent:
            self._kill_silent(silent, _children(head), now)
        engine = self._engine
        if now - engine.answered <= engine.helper.patience:
            return None
        silent_s = now - engine.answered
        return f"{engine.helper.name} {engine.helper.lacks} for {silent_s:.0f} s"

    def forget(self) -> None:
        """Begin anew to wait for answers: all processes are new."""
        now = time.monotonic()
        for one in (*self._helpers, self._engine):
            one.answered = now

    def _kill_silent(
        self, silent: list[_Watched], found: Mapping[str, psutil.Process], now: float
    ) -> None:
        for one in silent:
            process = next((found[line] for line in found if one.helper.title in line), None)
            passed = now - one.answered
            if process is None or passed <= one.helper.patience:
                continue
            logger.error("%s has not answered for %.0f s; killing it", one.helper.name, passed)
            one.answered = now
            with suppress(psutil.Error):
                process.kill()


def _children(head: int) -> dict[str, psutil.Process]:
    """The processes below the head, by their command lines."""
    found = {}
    with suppress(psutil.Error):
        for process in psutil.Process(head).children(recursive=True):
            with suppress(psutil.Error):
                found[" ".join(process.cmdline())] = process
    return found


def answers_at(state: EngineState) -> Helper:
    """The engine itself, which answers at its address."""
    return Helper("the engine", _http(f"{state.http}/v2/health/live", ""), "", SILENT_S)


def own_processes(state: EngineState, sockets: Path) -> tuple[Lost, ...]:
    """What finds the engine's own processes on this machine that must be replaced."""
    return Heartbeats(sockets), Lookout(
        StoppedProcesses(lambda pid: processes.belongs(pid, state.id, Path(state.runtime))),
        ExcessiveProcesses(sockets, ProcessBounds.from_env()),
    )


def watch_over(
    options: Mapping[str, str], state: EngineState, token: Path, sockets: Path, engine: Helper
) -> Helpers:
    """What watches a machine of an engine, whose sockets are in the folder ``sockets``.

    Where ``engine`` is silent for too long, Ray must be started anew; else see ``helpers_of``.
    """
    return Helpers(
        helpers_of(options, token),
        engine,
        *own_processes(state, sockets),
        GrownController(state.id, Path(state.runtime)),
    )


def helpers_of(
    options: Mapping[str, str], token: Path, env: Mapping[str, str] = os.environ
) -> list[Helper]:
    """Ray's helpers on a machine whose Ray was started with these options of its command line.

    ``token`` is the file of Ray's token, ``env`` the environment of the machine's supervisor. Only
    the head of an engine has a GCS and a dashboard. EngineError where Ray speaks TLS and its files
    cannot be read.
    """
    tls = RayTls.from_env(env)
    bearer = f"Bearer {token.read_text().strip()}"
    node = options.get("--node-ip-address", "127.0.0.1")

    def grpc_at(port: str) -> Ask:
        return _grpc(f"{node}:{options[port]}", bearer, tls)

    def http_at(host: str, port: str, path: str = "/") -> Ask:
        return _http(f"http://{host}:{options[port]}{path}", bearer)

    def of_head() -> Iterator[Helper]:
        yield Helper("Ray's GCS", grpc_at("--port"), "/gcs_server ", QUICK_S)
        host = reached_at(options["--dashboard-host"])
        dashboard = http_at(host, "--dashboard-port", "/timezone")
        yield Helper("Ray's dashboard", dashboard, "dashboard.py", QUICK_S)

    return [
        *(of_head() if "--port" in options else ()),
        Helper("Ray's raylet", grpc_at("--node-manager-port"), "/raylet ", PATIENT_S),
        Helper(
            "Ray's dashboard agent",
            http_at(node, "--dashboard-agent-listen-port"),
            "DashboardAgent",
            PATIENT_S,
        ),
        Helper(
            "Ray's runtime environment agent",
            http_at(node, "--runtime-env-agent-port"),
            "RuntimeEnvAgent",
            PATIENT_S,
        ),
    ]


def _grpc(address: str, bearer: str, tls: RayTls | None) -> Ask:
    channel = grpc.insecure_channel(address) if tls is None else _secured(address, tls)
    check = channel.unary_unary("/grpc.health.v1.Health/Check")

    def ask() -> None:
        said = ("authorization", bearer)
        try:
            check(b"", timeout=_TIMEOUT_S, metadata=(said,), wait_for_ready=True)
        except grpc.RpcError as error:
            raise EngineError(f"{error.code().name}: {error.details()}") from None

    return ask


def _secured(address: str, tls: RayTls) -> grpc.Channel:
    shown = grpc.ssl_channel_credentials(tls.authority, tls.key, tls.cert)
    return grpc.secure_channel(address, shown)


def _http(url: str, bearer: str) -> Ask:
    client = httpx.Client(
        headers={"authorization": bearer} if bearer else {},
        limits=httpx.Limits(max_keepalive_connections=0),
        timeout=_TIMEOUT_S,
        trust_env=False,
        verify=False,  # an engine whose certificate has ended is to be let alone too
    )

    def ask() -> None:
        client.get(url)

    return ask
