"""Ends a process whose event loop a component holds, and remembers which component that was.

The process that takes its place calls the component in threads, however fast it is. What is
remembered are the names of files in the engine's home, which need no other process to be written.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import suppress

import ray

from anabranch.graph.calls.watch import HANG_S, WATCH, LoopCaller
from anabranch.graph.monitor.memory import tidy
from anabranch.serve.calls.controller import ControllerActor
from anabranch.serve.heartbeat import start_heartbeat
from anabranch.serve.identity import ServedRevision, here

FOLDER = "hangs"
"""Folder in the home, with a folder for each graph, one for each revision, and a file a node."""
LAST_WORDS_S = 1.0
"""Time to write down and tell which component hangs, in seconds."""

logger = logging.getLogger("anabranch.serve")


def watch_loop() -> None:
    """Watch the running event loop and the components on it from now on, in an engine."""
    if ray.is_initialized():  # the process is the replica's
        WATCH.start(_end)
        start_heartbeat()


def hung_nodes() -> frozenset[str]:
    """Return the nodes of the revision served here that have held an event loop before."""
    folder = here().folder(FOLDER)
    if folder is None:
        return frozenset()
    with suppress(OSError):
        return frozenset(one.name for one in folder.iterdir())
    return frozenset()


def _end(lane: LoopCaller) -> None:
    """Note that a component hangs, and end this process, whatever comes in between."""
    threading.Timer(LAST_WORDS_S, _kill).start()
    try:
        _note(lane)
    finally:
        _kill()


def _note(lane: LoopCaller) -> None:
    served = ServedRevision(*lane.served) if lane.served[0] else here()
    _remember(served, lane.node)
    logger.error(
        "node %r of graph %r has held the event loop of its process for %gs: the process ends, and "
        "the node, unless it is asynchronous, is called in threads from now on",
        lane.node, served.graph, HANG_S,
    )  # fmt: skip
    with suppress(Exception):
        told = served.graph, int(served.revision), lane.node, HANG_S
        ControllerActor().ask("hung", *told, timeout=LAST_WORDS_S)


def _remember(served: ServedRevision, node: str) -> None:
    folder = served.folder(FOLDER)
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / node).touch()
        tidy(folder)
    except OSError as error:
        logger.warning("the next process will not know that node %r hangs: %s", node, error)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
