"""The shared models of a graph that runs without an engine, by their documents beside the spec."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from anabranch.components.contract import Bound
from anabranch.components.variables import saved
from anabranch.graph.compile.loading import Loaded
from anabranch.graph.execute.executor import HeadExecutor, SegmentCall
from anabranch.graph.execute.nodes import load_nodes, unload_nodes
from anabranch.graph.execute.streaming import streaming_of
from anabranch.graph.plan.plan import Plan
from anabranch.graph.shared.documents import open_model
from anabranch.graph.shared.local_call import LocalModelCall
from anabranch.graph.shared.model_node import SharedModelNode
from anabranch.specs.shared.document import NODE


class UsedModels(Protocol):
    """The shared models that nodes of a plan use."""

    @property
    def calls(self) -> Mapping[str, SegmentCall]:
        """The calls of all nodes that use models, by node."""

    def call(self, name: str) -> SegmentCall:
        """Return the call of the node ``name`` to the model that it uses."""

    async def close(self) -> None:
        """Call the models no more."""


ModelsOf: TypeAlias = Callable[[Plan, Path], Coroutine[Any, Any, UsedModels]]
"""Has the models of a plan at hand, for a bundle in a folder."""


class _LocalModel:
    """A shared model that is loaded in this process."""

    def __init__(
        self, loaded: Loaded, bound: Mapping[str, Bound], restore: Callable[[], None]
    ) -> None:
        self.bound = bound
        self.executor = HeadExecutor(loaded.plan, bound, {})
        self.joins = streaming_of(bound).get(NODE)
        self._root = loaded.root
        self._restore = restore

    @classmethod
    async def load(cls, name: str, root: Path, in_thread: bool) -> Self:
        loaded = open_model(name, root)
        plan = loaded.plan
        restore = saved(node.spec for node in plan.nodes.values())
        try:
            return cls(loaded, await load_nodes(plan, plan.nodes, root, in_thread), restore)
        except BaseException:
            restore()
            raise

    async def close(self) -> None:
        self.executor.close()
        await unload_nodes(self.bound, self._root)
        self._restore()


class LocalModels:
    """The shared models that the nodes of a plan use, each loaded once, on one event loop."""

    def __init__(self, plan: Plan) -> None:
        self._nodes = {name: SharedModelNode(plan, name) for name in shared_nodes(plan)}
        self._models: dict[str, _LocalModel] = {}

    @classmethod
    async def load(cls, plan: Plan, root: Path, in_thread: bool = False) -> Self:
        """Load each model by its document in ``root``, which is the working folder.

        With ``in_thread`` the event loop goes on meanwhile. Raises InvalidRequest where a model has
        no document, SpecError, and what ``load_nodes`` does.
        """
        found = cls(plan)
        try:
            for name in sorted({node.model.name for node in found._nodes.values()}):
                found._models[name] = await _LocalModel.load(name, root, in_thread)
        except BaseException:
            await found.close()
            raise
        return found

    @property
    def calls(self) -> Mapping[str, LocalModelCall]:
        """The calls of all nodes that use models, by node."""
        return {name: self.call(name) for name in self._nodes}

    def call(self, name: str) -> LocalModelCall:
        """Return the call of the node ``name`` to the model that it uses."""
        node = self._nodes[name]
        model = self._models[node.model.name]
        return LocalModelCall(node, model.executor, model.joins)

    @property
    def bound(self) -> Iterator[Bound]:
        """The components of all models."""
        for model in self._models.values():
            yield from model.bound.values()

    async def close(self) -> None:
        """Unload every model."""
        while self._models:
            await self._models.popitem()[1].close()


def shared_nodes(plan: Plan) -> list[str]:
    """Return the nodes of a plan that use shared models."""
    return [part.name for part in plan.segments if part.model is not None]
