"""The controller, as a process that uses a shared model asks it."""

from __future__ import annotations

import asyncio

from anabranch.graph.compile.loading import load_text
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.polling import ASK_S, POLL_S
from anabranch.serve.calls.controller import ControllerSource
from anabranch.serve.shared.heads import ModelHeads


class ModelSource(ControllerSource):
    """Source of a shared model's tables, with the plans of the revisions in them."""

    def __init__(self, model: str, replica: str, heads: ModelHeads) -> None:
        super().__init__(model, replica)
        self._heads = heads

    async def next(self, generation: int) -> RoutingTable | None:
        """Wait for a table; raises where the controller is away, and counts that."""
        try:
            table: RoutingTable | None = await self._call(POLL_S, "model_table", generation)
            if table is not None:
                for number in self._heads.lacking(table.revisions):
                    await self._learn(number)
        except Exception:
            self.breaks += 1
            raise
        return table

    async def _learn(self, number: int) -> None:
        spec: str = await self._call(ASK_S, "model_spec", number)
        loaded = await asyncio.to_thread(load_text, spec)
        self._heads.learn(number, loaded.plan)
