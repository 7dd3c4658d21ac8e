"""The graphs of a pool come, change, fail and go, each by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from anabranch.serve.pools.entries import PoolTable, TenantEntry
from anabranch.serve.pools.tenants import Tenants

BAD = 13
"""The revision that cannot start."""


def entry(graph: str, revision: int = 1, attempt: int = 1) -> TenantEntry:
    return TenantEntry(graph, revision, attempt, "bundle.zip", "graph.yaml")


def table(version: int, *entries: TenantEntry) -> PoolTable:
    return PoolTable(version, {one.graph: one for one in entries})


class World:
    """Graphs that answer while they are in ``running``; what happened is in ``events``."""

    def __init__(self) -> None:
        self.running: list[TenantEntry] = []
        self.events: list[str] = []
        self.unwell: set[str] = set()
        self.waiting: dict[str, asyncio.Event] = {}
        self.changes = 0
        self.tenants = Tenants(self.build, self.changed)

    def changed(self) -> None:
        self.changes += 1

    async def build(self, entry: TenantEntry) -> FakeTenant:
        self.events.append(f"build {entry.graph} {entry.revision}")
        if entry.graph in self.waiting:
            await self.waiting[entry.graph].wait()
        await asyncio.sleep(0)
        if entry.revision == BAD:
            raise RuntimeError(f"{entry.graph} is broken")
        self.running.append(entry)
        return FakeTenant(self, entry)

    def statuses(self) -> dict[str, str]:
        return {graph: state.status for graph, state in self.tenants.states.items()}

    async def settled(self) -> None:
        while tasks := [p.task for p in self.tenants._places.values() if p.task is not None]:
            await asyncio.gather(*tasks)


class FakeTenant:
    def __init__(self, world: World, entry: TenantEntry) -> None:
        self.world, self.entry = world, entry

    async def check_health(self) -> None:
        if self.entry.graph in self.world.unwell:
            raise RuntimeError("unwell")

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.world.running.remove(self.entry)
        self.world.events.append(f"close {self.entry.graph} {self.entry.revision}")


def run(scenario: Callable[[World], object]) -> World:
    async def main() -> World:
        world = World()
        await scenario(world)  # type: ignore[misc]
        await world.tenants.close()
        assert world.running == []
        assert world.tenants.states == {}
        return world

    return asyncio.run(main())


def test_graphs_come_and_go() -> None:
    async def scenario(world: World) -> None:
        await world.tenants.apply(table(1, entry("a"), entry("b")))
        await world.settled()
        assert world.statuses() == {"a": "running", "b": "running"}
        await world.tenants.apply(table(2, entry("b")))
        await world.settled()
        assert world.statuses() == {"b": "running"}
        assert world.events == ["build a 1", "build b 1", "close a 1"]

    assert run(scenario).changes >= 5


def test_a_new_revision_answers_before_the_old_one_ends() -> None:
    async def scenario(world: World) -> None:
        await world.tenants.apply(table(1, entry("a")))
        await world.settled()
        await world.tenants.apply(table(2, entry("a", 2)))
        await world.settled()
        assert world.events == ["build a 1", "build a 2", "close a 1"]

    run(scenario)


def test_a_graph_that_fails_leaves_the_others_and_what_it_was_to_replace() -> None:
    async def scenario(world: World) -> None:
        await world.tenants.apply(table(1, entry("a"), entry("b")))
        await world.settled()
        await world.tenants.apply(table(2, entry("a", BAD), entry("b"), entry("c")))
        await world.settled()
        assert world.statuses() == {"a": "failed", "b": "running", "c": "running"}
        assert world.tenants.states["a"].reason == "a is broken"
        assert entry("a") in world.running
        await world.tenants.apply(table(3, entry("a", BAD, attempt=2), entry("b"), entry("c")))
        await world.settled()
        assert world.events.count(f"build a {BAD}") == 2

    run(scenario)


def test_a_wish_that_is_overtaken_while_another_graph_loads_is_not_begun() -> None:
    async def scenario(world: World) -> None:
        world.waiting["slow"] = asyncio.Event()
        await world.tenants.apply(table(1, entry("slow")))
        await asyncio.sleep(0)
        await world.tenants.apply(table(2, entry("slow"), entry("a", 1)))
        await asyncio.sleep(0)
        await world.tenants.apply(table(3, entry("slow"), entry("a", 2)))
        world.waiting["slow"].set()
        await world.settled()
        assert world.statuses() == {"slow": "running", "a": "running"}
        assert "build a 1" not in world.events

    run(scenario)


def test_a_graph_that_is_unwell_is_told_and_the_others_stay() -> None:
    async def scenario(world: World) -> None:
        await world.tenants.apply(table(1, entry("a"), entry("b")))
        await world.settled()
        world.unwell = {"a"}
        await world.tenants.check_health()
        assert world.statuses() == {"a": "failed", "b": "running"}
        world.unwell = set()
        await world.tenants.apply(table(2, entry("a", attempt=2), entry("b")))
        await world.settled()
        assert world.statuses() == {"a": "running", "b": "running"}

    run(scenario)


TABLES = st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, 2, BAD])), max_size=8)


@given(TABLES, st.lists(st.integers(0, 6), max_size=8))
def test_whatever_the_tables_in_the_end_it_is_as_the_last_one_says(
    tables: list[dict[str, int]], pauses: list[int]
) -> None:
    async def scenario(world: World) -> None:
        wanted: dict[str, int] = {}
        for version, wanted in enumerate(tables, 1):
            entries = [entry(graph, revision) for graph, revision in wanted.items()]
            await world.tenants.apply(table(version, *entries))
            for _ in range(pauses[version - 1] if version <= len(pauses) else 0):
                await asyncio.sleep(0)
        await world.settled()
        good = {graph for graph, revision in wanted.items() if revision != BAD}
        expected = {graph: "running" if graph in good else "failed" for graph in wanted}
        assert world.statuses() == expected
        for graph in good:
            assert [one.revision for one in world.running if one.graph == graph] == [wanted[graph]]
        assert {one.graph for one in world.running} <= wanted.keys()

    run(scenario)
