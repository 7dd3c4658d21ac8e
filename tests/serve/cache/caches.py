"""Caches for tests: questions are arrays, and each answer says how often it was made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.contract import Context
from anabranch.errors import NodeError
from anabranch.graph.calls.cache_status import GRAPH
from anabranch.graph.execute.cached import MadeValue
from anabranch.serve.cache.answers import AnswerCache
from anabranch.serve.cache.counts import CacheCounts
from anabranch.serve.cache.machine import MachineStore
from anabranch.serve.cache.store import AnswerStore
from anabranch.telemetry.registry import Observed, Registry

SIZE = 2**20


def counted(registry: Registry) -> dict[str, float]:
    """The counts of a cache, by metric and outcome."""
    found = {}
    for name, cells in registry.snapshot().items():
        if name.startswith("anabranch_cache"):
            for labels, value in cells.items():
                assert not isinstance(value, Observed)
                word = name.removeprefix("anabranch_cache_").removesuffix("_total")
                found["/".join([word, *labels[3:]])] = value
    return found


class Model:
    """Doubles arrays, and counts how often it did."""

    def __init__(self) -> None:
        self.made = 0
        self.gate: asyncio.Event | None = None
        self.failures = 0
        """How many of the first calls fail."""
        self.may_be_kept = True

    async def __call__(self, x: Any) -> MadeValue:
        self.made += 1
        number = self.made
        if self.gate is not None:
            await self.gate.wait()
        if number <= self.failures:
            raise NodeError("a", "no luck")
        return MadeValue({"y": x * 2}, self.may_be_kept)


class Asked:
    """A cache and the model behind it."""

    def __init__(self, store: AnswerStore, registry: Registry, namespace: str = "r1") -> None:
        self.registry = registry
        counts = CacheCounts("g", "1", "", registry)
        self.cache = AnswerCache(GRAPH, namespace, store, SIZE // 8, counts)
        self.model = Model()

    async def ask(self, *values: float, **headers: str) -> tuple[list[float], str]:
        """The answer to a question, and how the cache has handled it."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        context = Context(headers=named)
        x = np.array(values)
        found = await self.cache.value([{"x": x}], context, lambda: self.model(x))
        return found["y"].tolist(), context.annotations.caches[GRAPH]


@contextmanager
def machine(
    folder: Path, name: str = "a", size: int = SIZE, ttl: float = 60.0
) -> Iterator[tuple[MachineStore, Registry]]:
    registry = Registry()
    store = MachineStore(folder, name, size, ttl, CacheCounts("g", "1", "", registry))
    try:
        yield store, registry
    finally:
        asyncio.run(store.close())
