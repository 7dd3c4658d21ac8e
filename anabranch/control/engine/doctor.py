"""Examines an engine from outside: ``examine`` gives a diagnosis of each part that it needs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from anabranch.client.client import ControlClient
from anabranch.client.connection.engine_state import RAY_TOKEN_FILE, EngineState, read_state
from anabranch.client.live import wait_live
from anabranch.control.engine.engine import is_running
from anabranch.control.engine.home import examine_store, open_mode, store_file
from anabranch.control.engine.supervision import supervisor
from anabranch.control.engine.supervision.helpers import Helper, helpers_of
from anabranch.control.settings.tls import in_force
from anabranch.errors import AnabranchError, EngineError, in_one_line
from anabranch.serve.edge.binary import OVERRIDE, haproxy_binary, haproxy_problem
from anabranch.serve.edge.tls.certificates import moment
from anabranch.serve.sockets import tcp_connection

LEAST_FREE = 2**30
"""Bytes of a disk below which it is said that little is left."""
_ANSWER_S = 5.0
"""Time that a part has for an answer, in seconds: on a busy machine the first try may fail."""
_AGAIN_S = 0.2
_DAY = 86_400.0
_UP = "anabranch up"
_ANEW = "anabranch down, then anabranch up"
_BACK = "try again, else anabranch restore FILE --replace"


@dataclass(frozen=True)
class Diagnosis:
    """One part of an engine: how it is, and where it is not well, what to do."""

    part: str
    state: str
    remedy: str = ""
    """What to do; empty where all is well."""


def examine(home: Path) -> list[Diagnosis]:
    """Examine the engine of ``home``, changing nothing; takes seconds where parts hang."""
    found = [*_home(home), *_haproxy()]
    state = read_state(home)
    if state is None or not is_running(state):
        found += _store(home)
    if state is None:
        return [*found, Diagnosis("engine", "no engine was started here", _UP)]
    found += [*_disk(Path(state.runtime)), _supervised(home, state)]
    if is_running(state):
        found += [
            *_helpers(home, state),
            _answer(state),
            *_certificate(home, state),
            *_graphs(home),
        ]
    return found


def _home(home: Path) -> Iterator[Diagnosis]:
    if not home.is_dir():
        yield Diagnosis("home", f"{home} does not exist", _UP)
        return
    shared = open_mode(home)
    yield Diagnosis(
        "home",
        f"{home}, its owner's alone"
        if shared is None
        else f"{home}: others may read it ({shared})",
        "" if shared is None else f"chmod 700 {home}",
    )
    yield from _disk(home)


def _disk(folder: Path) -> Iterator[Diagnosis]:
    if not folder.is_dir():
        yield Diagnosis("disk", f"{folder} does not exist", _ANEW)
        return
    free = shutil.disk_usage(folder).free
    problem = "" if os.access(folder, os.W_OK) else f"make {folder} writable"
    if free < LEAST_FREE:
        problem = f"free space on the disk of {folder}"
    yield Diagnosis("disk", f"{free / 2**30:.1f} GiB free for {folder}", problem)


def _store(home: Path) -> Iterator[Diagnosis]:
    """Examine the file of a store that no engine uses, as ``up`` does."""
    problems: list[str] = []
    try:
        examine_store(home, problems.append)
    except EngineError as error:
        problems.append(str(error))
    path = store_file(home)
    yield from (Diagnosis("store", text, _BACK) for text in problems)
    if not problems and path is not None and path.exists():
        yield Diagnosis("store", f"{path} is sound")


def _haproxy() -> Iterator[Diagnosis]:
    binary = haproxy_binary()
    problem = haproxy_problem(binary)
    remedy = f"install ray[serve] or haproxy, or set {OVERRIDE}; it goes on without, slower"
    yield Diagnosis("HAProxy", problem or str(binary), remedy if problem else "")


def _supervised(home: Path, state: EngineState) -> Diagnosis:
    log = home / supervisor.LOG
    if is_running(state):
        return Diagnosis("supervisor", f"process {state.pid}, its log is {log}")
    reason = state.problem or f"it has ended: see {log}"
    return Diagnosis("supervisor", reason, "anabranch join" if state.joined else _UP)


def _helpers(home: Path, state: EngineState) -> Iterator[Diagnosis]:
    if state.attached:
        yield _other_ray(state.address)
        return
    process = psutil.Process(state.pid)
    options = supervisor.options(process.cmdline())
    for helper in helpers_of(options, home / RAY_TOKEN_FILE, process.environ()):
        yield _asked(helper, home)


def _other_ray(address: str) -> Diagnosis:
    """Say whether the Ray answers that somebody else has started, who looks after its parts."""
    try:
        tcp_connection(address, _ANSWER_S).close()
    except OSError as error:
        remedy = "start it again at this address; the engine comes back then by itself"
        return Diagnosis("Ray", f"does not answer at {address}: {error.strerror or error}", remedy)
    return Diagnosis("Ray", f"answers at {address}; the engine has not started it")


def _asked(helper: Helper, home: Path) -> Diagnosis:
    deadline = time.monotonic() + _ANSWER_S
    while (error := _problem_of(helper)) is not None and time.monotonic() < deadline:
        time.sleep(_AGAIN_S)
    if error is None:
        return Diagnosis(helper.name, "answers")
    silent = f"does not answer ({in_one_line(error)})"
    waits = f"wait {helper.patience:.0f} s for its supervisor, else {_ANEW}"
    return Diagnosis(helper.name, silent, f"{waits}; see {home / 'logs' / 'head.log'}")


def _problem_of(helper: Helper) -> Exception | None:
    try:
        helper.ask()
    except Exception as error:
        return error
    return None


def _answer(state: EngineState) -> Diagnosis:
    try:
        wait_live(state.http, _ANSWER_S)
    except AnabranchError as error:
        return Diagnosis("edge and gateway", str(error), f"wait a minute, else {_ANEW}")
    return Diagnosis("edge and gateway", f"answer at {state.http}")


def _certificate(home: Path, state: EngineState) -> Iterator[Diagnosis]:
    if not state.trusted:
        return
    copies = in_force(home)
    warnings = list(copies.warnings())
    for text in warnings:
        yield Diagnosis("certificate", text, "mend the files of `anabranch up`; it takes them soon")
    if not warnings:
        yield Diagnosis("certificate", f"ends on {moment(copies.ends())}")


def _graphs(home: Path) -> Iterator[Diagnosis]:
    try:
        with ControlClient.of_owner(home) as control:
            graphs, kept = control.graphs(), control.kept()
    except (AnabranchError, httpx.HTTPError) as error:
        yield Diagnosis("controller", f"does not answer: {error}", f"wait a minute, else {_ANEW}")
        return
    yield Diagnosis("controller", f"answers, and knows {len(graphs)} graphs")
    yield from map(_kept, kept)
    for graph in graphs:
        if graph["state"] != "live":
            yield _graph(graph)


def _kept(one: Mapping[str, Any]) -> Diagnosis:
    """Say how much is kept of what, and of each bound there is, how much may be."""
    said = [f"{one['count']:,}{_of(one['most'], '{:,}')}"]
    if one["bytes"] is not None:
        said.append(f"{one['bytes'] / 2**20:,.1f} MiB{_of(one['most_bytes'], '{:,.1f}', 2**20)}")
    if one["oldest"] is not None:
        days = max(0.0, time.time() - one["oldest"]) / _DAY
        said.append(f"the oldest {days:.1f} days old")
    if one["age"] is not None:
        said.append(f"kept for {one['age'] / _DAY:.1f} days where nothing needs them")
    return Diagnosis(one["what"], ", ".join(said))


def _of(bound: float | None, form: str, unit: float = 1) -> str:
    return "" if bound is None else f" of {form.format(bound / unit if unit > 1 else bound)}"


def _graph(graph: Mapping[str, object]) -> Diagnosis:
    name = graph["graph"]
    look = f"anabranch status {name}, anabranch logs {name}"
    return Diagnosis(f"graph {name}", f"it is {graph['state']}", look)


def ill(found: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Return those with something to do."""
    return [one for one in found if one.remedy]
