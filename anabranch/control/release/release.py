"""A release: a revision with all that it takes to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anabranch.graph.plan.plan import Plan, Segment
from anabranch.serve.workers.environment import inherited
from anabranch.serve.workers.launcher import FORK

REVISION_VARIABLE = "ANABRANCH_REVISION"
"""In the environment of every replica; also how a router's revision is read back from Serve."""


@dataclass(frozen=True)
class Release:
    """A revision with all that it takes to run it. ``spec`` is the spec's path in the bundle."""

    graph: str
    revision: int
    spec: str
    plan: Plan
    runtime_env: Mapping[str, Any]
    bundle: str = ""
    """Path of the bundle on the engine's machine."""
    running: int = 0
    """How many routers there are now, where their number follows the load."""

    def environment(self, segment: Segment) -> dict[str, Any]:
        """The runtime environment of a segment's replicas."""
        variables = {"ANABRANCH_GRAPH": self.graph, REVISION_VARIABLE: str(self.revision)}
        variables |= inherited()
        variables |= self.runtime_env.get("env_vars", {})
        if _may_be_forked(segment):
            variables[FORK] = "1"
        return {**self.runtime_env, "env_vars": variables}


def _may_be_forked(segment: Segment) -> bool:
    """Whether a replica can do with what the zygote was started with: one thread, and no GPU."""
    wanted = segment.resources
    return wanted is None or ((wanted.cpu or 0) <= 1 and not wanted.gpu)
