"""The shared models that nodes of a process use, called where the engine runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from anabranch.errors import Unavailable
from anabranch.graph.calls.counts import Counts
from anabranch.graph.plan.plan import Plan
from anabranch.graph.shared.local_models import shared_nodes
from anabranch.serve.shared.model_call import SharedModelCall


class DeployedModels:
    """Calls of ``nodes`` of a plan, as far as these use shared models; ``start`` comes first.

    ``counts`` are those of the plan's revision.
    """

    def __init__(self, plan: Plan, nodes: Iterable[str], counts: Counts | None = None) -> None:
        using = sorted({*shared_nodes(plan)}.intersection(nodes))
        self.calls: Mapping[str, SharedModelCall] = {
            name: SharedModelCall(plan, name, counts) for name in using
        }
        """By node."""

    @classmethod
    async def load(cls, plan: Plan, root: Path) -> Self:
        """Have the models of all nodes at hand; raise what ``start`` raises."""
        found = cls(plan, plan.nodes)
        await found.start()
        return found

    async def start(self) -> None:
        """Have the models at hand; Unavailable names a node whose model does not run."""
        for node, call in self.calls.items():
            try:
                await call.start()
            except Unavailable as error:
                await self.close()
                raise Unavailable(f"node {node!r}: {error}") from None

    def call(self, name: str) -> SharedModelCall:
        """Return the call of the node ``name`` to the model that it uses."""
        return self.calls[name]

    async def close(self) -> None:
        """Call the models no more."""
        for call in self.calls.values():
            await call.close()
