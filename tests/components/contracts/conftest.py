from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes, unload_nodes


def evaluate(
    graph: Graph, inputs: Mapping[str, Any], context: Context | None = None, segmented: bool = False
) -> dict[str, Any]:
    """Evaluate a graph once; in one process, or with every segment behind a call."""

    async def main() -> dict[str, Any]:
        plan = graph.plan
        bound = await load_nodes(plan, plan.nodes, graph.root)
        executor = loopback(plan, bound) if segmented else HeadExecutor(plan, bound)
        try:
            async with asyncio.timeout(60):
                given = {name: np.asarray(one) for name, one in inputs.items()}
                return await executor.run(given, context or Context())
        finally:
            executor.close()
            await unload_nodes(bound, graph.root)

    return asyncio.run(main())


@pytest.fixture(name="evaluate", scope="session")
def evaluate_fixture() -> Any:
    return evaluate
