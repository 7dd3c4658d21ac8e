"""The life of a process that serves one graph: from the spec to the last request.

On SIGTERM or SIGINT it accepts no more, answers what has come, and ends; a second signal ends it at
once. Where it watches the spec's folder, each change becomes a new revision.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import uvloop

from anabranch.errors import AnabranchError
from anabranch.graph.calls.settling import settle_process
from anabranch.graph.compile.bundled import check_bundled
from anabranch.graph.compile.loading import Loaded, open_graph
from anabranch.graph.shared.documents import DocumentedModels
from anabranch.router.standalone.revision import StandaloneRevision
from anabranch.router.standalone.server import StandaloneOptions, StandaloneServer, bound_socket
from anabranch.telemetry.tracing import TRACES

Say: TypeAlias = Callable[[str], None]
Changes: TypeAlias = AsyncGenerator[set[Any], None]
_LOOK_MS = 200


def opened(file: Path) -> Loaded:
    """Compile a spec that is to be served. Raise SpecError with all mistakes in it.

    Among them are components and models that its folder does not have.
    """
    root = file.parent.resolve()
    return open_graph(file, [lambda draft: check_bundled(draft, root)], DocumentedModels(root))


def run(
    file: Path,
    prepare: Callable[[Loaded], StandaloneOptions],
    ready: Callable[[StandaloneServer], None],
    say: Say | None = None,
) -> None:
    """Serve the graph of a ``file`` until a signal ends that.

    The file's folder becomes the working folder. ``prepare`` says where a compiled graph is served,
    and ``ready`` is called once requests are answered; ``say`` is told of each change of the folder
    that is served, and without it none is. Raises SpecError, EngineError where a port is taken, and
    as ``StandaloneRevision.load`` does.
    """
    file = file.resolve()
    signal.signal(signal.SIGINT, _interrupt)  # asyncio's own would wait until a model is loaded
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_served(file, prepare, ready, say))


def _interrupt(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


async def _served(
    file: Path,
    prepare: Callable[[Loaded], StandaloneOptions],
    ready: Callable[[StandaloneServer], None],
    say: Say | None,
) -> None:
    changes = None if say is None else await _changes(file.parent)
    loaded = opened(file)
    options = prepare(loaded)
    os.chdir(loaded.root)
    with bound_socket(options.host, options.port) as listener:
        TRACES.prepare()
        revision = await StandaloneRevision.load(1, loaded)
        server = StandaloneServer(revision, options, listener)
        await server.start()
        settle_process()
        ends = _ends_with_a_signal()
        ready(server)
        async with _following(server, file, changes, say):
            await ends.wait()
        await server.close()
        await asyncio.to_thread(TRACES.close)


def _ends_with_a_signal() -> asyncio.Event:
    loop, ends = asyncio.get_running_loop(), asyncio.Event()

    def end(number: int) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        ends.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    return ends


async def _changes(folder: Path) -> Changes:
    """Return the changes of a folder from now on; an empty set where there are none for a while."""
    from watchfiles import awatch

    changes = awatch(folder, rust_timeout=_LOOK_MS, yield_on_timeout=True)
    await anext(changes)
    return changes


@asynccontextmanager
async def _following(
    server: StandaloneServer, file: Path, changes: Changes | None, say: Say | None
) -> AsyncIterator[None]:
    if changes is None or say is None:
        yield
        return
    following = asyncio.create_task(_follow(server, file, changes, say))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait([following])


async def _follow(server: StandaloneServer, file: Path, changes: Changes, say: Say) -> None:
    """Serve each change of the spec's folder; where it cannot be, the revision before goes on."""
    async for changed in changes:
        if not changed:
            continue
        try:
            loaded = await asyncio.to_thread(opened, file)
            server.check(loaded.plan)
            number = server.revision.number + 1
            server.move_to(await StandaloneRevision.load(number, loaded, beside=True))
        except AnabranchError as error:
            say(f"revision {server.revision.number} goes on: {error}")
        else:
            say(f"revision {server.revision.number} answers now")
