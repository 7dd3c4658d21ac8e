"""The component that was called last is told in the pulse, however it is called."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.graph.calls import guard, lanes
from anabranch.graph.execute import steps
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.pulse import SIZE, Pulse, Reading


class Same:
    """Says whom the pulse names while it is called."""

    def transform(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        seen.append(Reading.of(bytes(memory)).node)
        return x


class SameAsCoroutine(Same):
    """The same, before and after it has waited."""

    async def transform(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        super().transform(x)
        await asyncio.sleep(0)
        return super().transform(x)


memory = bytearray(SIZE)
seen: list[str] = []


@pytest.mark.parametrize("component", ["Same", "SameAsCoroutine"])
@pytest.mark.parametrize("threads", [(), ("a", "b")])
def test_it_is_told_before_the_component_begins(
    component: str, threads: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = Pulse()
    for module in (guard, lanes, steps):
        monkeypatch.setattr(module, "PULSE", pulse)
    memory[:] = bytes(SIZE)
    pulse.share(memoryview(memory), "g", "1", 1.0)
    seen.clear()
    graph = Graph("g", root=Path(__file__).parent).input("x", "INT64", [-1]).output("y", "b")
    graph.transformer("a", inputs={"x": "x"}, component=f"{__name__}:{component}")
    graph.transformer("b", inputs={"x": "a"}, component=f"{__name__}:{component}")

    async def main() -> None:
        bound = await load_nodes(graph.plan, ["a", "b"], graph.root)
        executor = HeadExecutor(graph.plan, bound, threads_only=threads)
        for number in range(10):
            await executor.run({"x": np.array([number])}, Context())
        executor.close()

    asyncio.run(main())
    times = 2 if component == "SameAsCoroutine" else 1
    assert seen == [*["a"] * times, *["b"] * times] * 10
