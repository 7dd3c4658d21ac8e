"""What an engine has at some moment: processes, memory, files, routes, rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import sqlalchemy as sa

from anabranch.control.store.schema import tables
from anabranch.serve.edge.configuration import ROUTES_MAP, STATS_SOCKET
from anabranch.serve.edge.runtime_api import RuntimeApi
from anabranch.serve.heartbeat import PulseFile
from anabranch.serve.sockets import SOCKETS
from tests.actors import MARK, actor_of
from tests.engines import Engine

MIB = 2**20
_APART = {"logs", "runtime_resources"}
"""Folders of Ray's session: logs, which have a bound of their own, and unpacked bundles."""


class LeftBehind(NamedTuple):
    """Counts by kind. Processes go by their actor's class, or the module or program that runs."""

    processes: Counter[str]
    memory: Counter[str]
    """In MiB, by process; pages that several processes share count for each in part."""
    descriptors: Counter[str]
    """Open files and sockets, likewise."""
    files: Counter[str]
    """By folder below the engine's runtime folder, sockets included."""
    shared: set[str]
    """Files of shared memory that any process maps."""
    servers: set[str]
    """Backends and servers of the edge's HAProxy that take requests, or still have some."""
    entries: set[str]
    """Graphs in its map."""
    rows: Counter[str]
    """By table of the store."""

    @classmethod
    def of(cls, engine: Engine) -> LeftBehind:
        """Look at an engine that runs."""
        state = engine.state
        assert state is not None
        runtime = Path(state.runtime)
        api = RuntimeApi(runtime / SOCKETS / STATS_SOCKET)
        edge = asyncio.run(api.state(ROUTES_MAP))
        found = cls(
            Counter(), Counter(), Counter(), _files(runtime), set(),
            {"/".join(server) for server in edge.servers}, set(edge.entries), _rows(engine.home),
        )  # fmt: skip
        for process in engine.processes(state):
            with suppress(psutil.Error):
                found._count(process)
        return found

    def _count(self, process: psutil.Process) -> None:
        name = title(process)
        memory = process.memory_full_info().pss // MIB
        descriptors = process.num_fds()
        maps = {one.path for one in process.memory_maps()}
        self.processes[name] += 1
        self.memory[name] += memory
        self.descriptors[name] += descriptors
        self.shared.update(path for path in maps if path.startswith("/dev/shm/"))


def title(process: psutil.Process) -> str:
    """An actor without what it does just now, else the module or the program."""
    words = process.cmdline() or [""]  # of one that ends just now
    if words[0].startswith(MARK):
        return MARK + actor_of(process)
    module = next((word for word in words if word.startswith("anabranch.")), "")
    return module or " ".join(Path(word).name for word in words[:2])


def is_at_rest(engine: Engine, graph: str) -> bool:
    """Return whether the graph has one process, its router, and nothing starts or ends.

    Each forked worker has a shell that stands in for it with Ray, and goes after it.
    """
    state = engine.state
    assert state is not None
    titles = Counter[str]()
    for process in engine.processes(state):
        with suppress(psutil.Error):
            titles[title(process)] += 1
    workers = sum(
        count
        for name, count in titles.items()
        if name.startswith(MARK) and not name.endswith("Agent")
    )
    return titles["sh -c"] == workers and _processes_of(engine, graph) == 1


def _processes_of(engine: Engine, graph: str) -> int:
    state = engine.state
    assert state is not None
    readings = (pulse.read() for pulse in PulseFile.all_in(Path(state.runtime) / SOCKETS))
    return sum(one is not None and one.graph == graph for one in readings)


def logs(engine: Engine) -> list[Path]:
    """Files of logs of the engine's processes on this machine."""
    state = engine.state
    assert state is not None
    return [path for path in _walk(Path(state.runtime)) if "logs" in path.parts]


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        with suppress(OSError):
            if not path.is_dir():
                yield path


def _files(runtime: Path) -> Counter[str]:
    return Counter(
        str(path.parent.relative_to(runtime))
        for path in _walk(runtime)
        if not _APART & set(path.parts)
    )


def _rows(home: Path) -> Counter[str]:
    store = sa.create_engine(f"sqlite:///file:{home / 'store.db'}?mode=ro&uri=true")
    with store.connect() as connection:
        count = sa.select(sa.func.count())
        return Counter(
            {
                name: connection.scalar(count.select_from(table)) or 0
                for name, table in tables.tables.items()
            }
        )
