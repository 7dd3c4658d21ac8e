"""The revision and graph that a process serves, or a task of a pool."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from anabranch.names import slashless
from anabranch.telemetry.logs import SERVED


class ServedRevision(NamedTuple):
    """Values of the labels ``graph`` and ``revision``; empty outside the engine."""

    graph: str
    revision: str

    def folder(self, kind: str) -> Path | None:
        """Return where the engine's home keeps files of a kind for the revision, if it has one."""
        home = os.environ.get("ANABRANCH_HOME")
        if not home or not self.graph:
            return None
        return Path(home) / kind / slashless(self.graph) / f"r{self.revision}"


def here() -> ServedRevision:
    """Return the graph and the revision that the engine gave this process, or the running task."""
    served = SERVED.get()
    if served[0]:
        return ServedRevision(*served)
    return ServedRevision(
        os.environ.get("ANABRANCH_GRAPH", ""), os.environ.get("ANABRANCH_REVISION", "")
    )


def serve_as(graph: str, revision: int) -> None:
    """Have the running task, and all that it begins from now on, serve a revision of a graph."""
    SERVED.set((graph, str(revision)))
