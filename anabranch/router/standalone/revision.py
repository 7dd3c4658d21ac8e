"""A revision of a graph with all of its nodes, explainers and monitors in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from anabranch.components.contract import Bound
from anabranch.components.variables import saved
from anabranch.errors import AnabranchError, DeployError
from anabranch.graph.calls.counts import Counts
from anabranch.graph.compile.loading import Loaded
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes, run_hook, unload_nodes
from anabranch.graph.explain.explainer import Explaining
from anabranch.graph.local import in_one_process
from anabranch.graph.plan.learners import LearningRouter, learners
from anabranch.graph.plan.plan import Plan
from anabranch.graph.shared.local_models import LocalModels
from anabranch.router.standalone.explainers import StandaloneExplainers
from anabranch.router.standalone.monitors import StandaloneMonitors
from anabranch.router.traffic.local_head import LocalHead
from anabranch.router.warmup import warm_up


@dataclass(frozen=True)
class _Parts:
    """What a revision has loaded."""

    models: LocalModels
    bound: Mapping[str, Bound]
    explaining: Mapping[str, Explaining]
    monitors: StandaloneMonitors | None


class StandaloneRevision:
    """One revision of a graph, which has been loaded; ``number`` counts from 1."""

    def __init__(self, number: int, loaded: Loaded, parts: _Parts) -> None:
        self.number = number
        self.graph = loaded.graph
        self.plan = plan = in_one_process(loaded.plan)
        self._root, self._parts = loaded.root, parts
        self._restore = saved(node.spec for node in plan.nodes.values())
        counts = Counts(plan.name, str(number))
        offer = None if parts.monitors is None else parts.monitors.offer
        self._executor = HeadExecutor(
            plan, parts.bound, parts.models.calls, counts.recovered, counts, offer
        )
        self._problem = ""
        self.head = LocalHead(self._executor, self._obstacle)
        self.explainers = StandaloneExplainers(plan.name, number, parts.explaining)
        self.learners: Mapping[str, LearningRouter] = learners(plan, parts.bound)

    @classmethod
    async def load(cls, number: int, loaded: Loaded, *, beside: bool = False) -> Self:
        """Load all parts of a compiled spec, whose folder is the working folder, and warm it up.

        ``beside``: another revision answers meanwhile, so nodes are loaded in threads. Raises
        LoadError, ArtefactError or DeployError, each with the name of what is to blame.
        """
        found = cls(number, loaded, await _loaded(number, loaded, beside))
        try:
            await found._warm_up()
            await found.check_health()
            if found._problem:
                raise DeployError(found._problem)
        except BaseException:
            await found.close()
            raise
        return found

    async def _warm_up(self) -> None:
        warmup = self.graph.spec.warmup
        if warmup is not None:
            await warm_up(self.head, self.plan, warmup, self._root)

    async def check_health(self) -> None:
        """Ask the components how they are; what is wrong keeps the graph from being ready."""
        parts = self._parts
        try:
            await run_hook("check_health", [*parts.bound.values(), *parts.models.bound], self._root)
        except AnabranchError as error:
            self._problem = str(error)
        else:
            self._problem = ""

    def _obstacle(self) -> str:
        return self._problem or self._executor.stuck or ""

    async def close(self) -> None:
        """Unload everything, and give up the variables of the nodes."""
        self.head.close()
        for explaining in self._parts.explaining.values():
            await unload_nodes(explaining.bound, self._root)
            explaining.close()
        if self._parts.monitors is not None:
            await asyncio.to_thread(self._parts.monitors.close)
        await unload_nodes(self._parts.bound, self._root)
        await self._parts.models.close()
        self._restore()


async def _loaded(number: int, loaded: Loaded, beside: bool) -> _Parts:
    plan = in_one_process(loaded.plan)
    models = await LocalModels.load(plan, loaded.root, in_thread=beside)
    try:
        return await _with_nodes(number, plan, loaded.root, models, beside)
    except BaseException:
        await models.close()
        raise


async def _with_nodes(
    number: int, plan: Plan, root: Path, models: LocalModels, beside: bool
) -> _Parts:
    bound = await load_nodes(plan, plan.head.nodes, root, in_thread=beside)
    explaining: dict[str, Explaining] = {}
    try:
        for name in plan.signature.explainers:
            explaining[name] = await Explaining.load(plan, name, root, models.call)
        monitors = await asyncio.to_thread(_monitors, plan, number, root)
    except BaseException:
        for each in (bound, *(one.bound for one in explaining.values())):
            await unload_nodes(each, root)
        raise
    return _Parts(models, bound, explaining, monitors)


def _monitors(plan: Plan, number: int, root: Path) -> StandaloneMonitors | None:
    return StandaloneMonitors.load(plan, number, root) if plan.monitors else None
