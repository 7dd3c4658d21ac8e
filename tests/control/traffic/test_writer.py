from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from anabranch.access.actor import ENGINE
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Change, Intent, Moment, Operation, Situation
from anabranch.control.models.checks import ModelChecks
from anabranch.control.models.shared_models import SharedModels
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.release.releases import Releases
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.control.traffic import writer as writer_module
from anabranch.control.traffic.signing_keys import ROTATION_S, SigningKeys
from anabranch.control.traffic.tables import Catalogue
from anabranch.control.traffic.topics import TableTopics
from anabranch.control.traffic.writer import TrafficWriter
from anabranch.errors import NotFound, Unavailable
from anabranch.router.measure.tally import Report, Tally
from tests.control.actors import ANN, acting
from tests.control.stores import new_store

G = "digits"
NOW = 5000.0


def spec(grace: str | None = None) -> str:
    traffic = f"  traffic: {{grace: {grace}}}\n" if grace else ""
    return (
        "apiVersion: anabranch/v1\nkind: InferenceGraph\nmetadata: {name: digits}\nspec:\n"
        "  inputs: {x: {datatype: FP32, shape: [-1, 2]}}\n"
        "  nodes:\n    a: {type: transformer, component: 'components.py:A', inputs: {x: x}}\n"
        "  outputs: {y: a}\n" + traffic
    )


class WriterParts:
    """A traffic writer with all that it needs."""

    def __init__(self, store: Store, home: Path) -> None:
        self.store, self.topics, self.totals = store, TableTopics(patience=0.01), ArmTotals()
        releases = Releases(Settings.from_env({"ANABRANCH_HOME": str(home)}))
        catalogue = Catalogue(store, releases)
        self.now = NOW
        self.keys = SigningKeys(store.database, lambda: self.now)
        checks = ModelChecks(store, releases, SharedModels(store, catalogue))
        self.writer = TrafficWriter(
            store, catalogue, self.topics, self.totals, self.keys, checks.check, checks.held,
            600.0, lambda: NOW,
        )  # fmt: skip
        self.told = 0
        self.writer.watch(self.tell)

    def tell(self) -> None:
        self.told += 1

    async def generation(self, graph: str = G) -> int | None:
        table = await self.topics.table(graph, "test", 0)
        return None if table is None else table.generation

    async def live(self, number: int, text: str) -> None:
        self.store.ensure_revision(G, text, "d", force=True)
        await self.writer.change(G, arrived(number))


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[WriterParts]:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield WriterParts(store, tmp_path)
    store.close()


def arrived(number: int) -> Operation:
    return partial(operations.arrived, number=number)


def test_a_change_is_stored_published_and_told(parts: WriterParts) -> None:
    told: list[int] = []
    parts.writer.watch(lambda: told.append(1))

    async def scenario() -> None:
        parts.store.ensure_revision(G, spec(), "d", force=True)
        stored = await parts.writer.change(G, arrived(1))
        assert stored.situation.stable == 1
        assert await parts.generation() == stored.generation
        assert parts.store.situation(G) == stored

    asyncio.run(scenario())
    assert told == [1]


def test_a_table_goes_out_again_with_each_new_key(parts: WriterParts) -> None:
    async def scenario() -> None:
        parts.keys.renew()
        await parts.live(1, spec())
        first = await parts.topics.table(G, "test", 0)
        assert first is not None
        assert first.keys == parts.keys.current
        parts.now += ROTATION_S
        parts.keys.renew()
        # As the reconciler does, whenever it looks at the store.
        await parts.writer.catch_up(parts.store.situation(G))
        second = await parts.topics.table(G, "test", first.generation)
        assert second is not None
        assert second.keys == parts.keys.current != first.keys

    asyncio.run(scenario())


def test_what_an_operation_raises_comes_through_and_changes_nothing(parts: WriterParts) -> None:
    def refused(now: Situation, moment: Moment) -> Change:
        raise NotFound("no such thing")

    async def scenario() -> None:
        parts.store.ensure_revision(G, spec(), "d", force=True)
        await parts.writer.publish(G)
        before = await parts.generation()
        with pytest.raises(NotFound, match="no such thing"):
            await parts.writer.change(G, refused)
        with pytest.raises(NotFound, match="no graph 'other'"):
            await parts.writer.change("other", arrived(1))
        assert await parts.generation() == before
        await parts.writer.change(G, arrived(1))  # the writer is free again

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [(None, None, 600.0), ("5s", None, 600.0), (None, "7s", 7.0), ("5s", "7s", 7.0)],
)
def test_the_new_revision_says_how_long_the_old_one_stays(
    parts: WriterParts, old: str | None, new: str | None, expected: float
) -> None:
    async def scenario() -> None:
        await parts.live(1, spec(old))
        await parts.live(2, spec(new))

    asyncio.run(scenario())
    member = parts.store.situation(G).situation.members[1]
    assert (member.state, member.expires_at) == ("warm", NOW + expected)


def test_a_candidate_says_how_long_it_stays_when_it_is_aborted(parts: WriterParts) -> None:
    async def scenario() -> None:
        await parts.live(1, spec("5s"))
        parts.store.ensure_revision(G, spec("9s"), "d", intent=Intent("canary", 10), force=True)
        await parts.writer.change(G, arrived(2))
        await parts.writer.change(G, operations.aborted)

    asyncio.run(scenario())
    assert parts.store.situation(G).situation.members[2].expires_at == NOW + 9.0


def test_a_change_is_put_in_force_also_if_nobody_waits_for_it_any_more(parts: WriterParts) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(now: Situation, moment: Moment) -> Change:
        begun.set()
        go_on.wait(60)
        return operations.arrived(now, moment, 1)

    async def scenario() -> None:
        parts.store.ensure_revision(G, spec(), "d", force=True)
        with acting(ANN):
            asked = asyncio.create_task(parts.writer.change(G, slow))
        await asyncio.to_thread(begun.wait, 60)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        go_on.set()
        await parts.writer.publish(G)  # waits for its turn
        assert parts.told == 2
        assert await parts.generation() == parts.store.situation(G).generation
        assert parts.store.situation(G).situation.stable == 1
        assert [event.actor for event in parts.store.events(G)] == [ENGINE, ANN]

    asyncio.run(scenario())


def test_one_can_wait_until_what_is_stored_is_in_force(
    parts: WriterParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, go_on = threading.Event(), threading.Event()
    build = writer_module.build

    def slow(*given: Any) -> Any:
        stored.set()
        go_on.wait(60)
        return build(*given)

    async def scenario() -> None:
        parts.store.ensure_revision(G, spec(), "d", force=True)
        monkeypatch.setattr(writer_module, "build", slow)
        changing = asyncio.create_task(parts.writer.change(G, arrived(1)))
        await asyncio.to_thread(stored.wait, 60)
        assert parts.store.situation(G).situation.stable == 1
        waiting = asyncio.create_task(parts.writer.until_in_force(G, 0))
        await asyncio.sleep(0)
        assert not waiting.done()
        go_on.set()
        await waiting
        assert await parts.generation() == parts.store.situation(G).generation
        await changing

    asyncio.run(scenario())


def test_who_waits_for_a_change_waits_for_routers_that_have_not_taken_it(
    parts: WriterParts,
) -> None:
    async def scenario() -> None:
        await parts.live(1, spec())
        generation = parts.store.situation(G).generation
        await parts.topics.table(G, "router", 0)  # told, but not yet said to be held
        waiting = asyncio.create_task(parts.writer.until_in_force(G, 0))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        await parts.topics.table(G, "router", generation)
        await waiting

    asyncio.run(scenario())


def test_who_waits_for_a_change_waits_for_routers_that_a_new_controller_has_not_heard_of(
    parts: WriterParts,
) -> None:
    async def scenario() -> None:
        await parts.live(1, spec())
        generation = parts.store.situation(G).generation
        for router in ("one", "two"):
            waiting = asyncio.create_task(parts.writer.until_in_force(G, 2))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not waiting.done()
            await parts.topics.table(G, router, generation)
        await waiting

    asyncio.run(scenario())


def test_a_router_that_never_takes_a_change_is_not_waited_for_long(parts: WriterParts) -> None:
    async def scenario() -> None:
        await parts.live(1, spec())
        await parts.topics.table(G, "router", 0)
        await parts.writer.until_in_force(G, 0)
        assert parts.topics.routers(G) == 1  # and it is not taken for gone

    asyncio.run(scenario())


def test_what_could_not_be_put_in_force_is_caught_up_with(
    parts: WriterParts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("the store does not answer")

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(writer_module, "build", away)
            await parts.live(1, spec())
        assert "no routing table" in caplog.text
        assert await parts.generation() is None
        told, stored = parts.told, parts.store.situation(G)
        await parts.writer.catch_up(stored)
        assert await parts.generation() == stored.generation
        monkeypatch.setattr(writer_module, "build", away)
        await parts.writer.catch_up(stored)  # nothing to do
        assert parts.told == told  # or the reconciler would wake itself for ever

    asyncio.run(scenario())


def test_what_is_overtaken_is_not_put_in_force(parts: WriterParts) -> None:
    async def scenario() -> None:
        await parts.live(1, spec())
        going = parts.store.change(G, partial(operations.deleted, moment=Moment(NOW, 600.0)))
        parts.store.ensure_revision(G, spec(), "d", force=True)
        await parts.writer.publish(G)
        await parts.writer.catch_up(going)
        assert await parts.generation() == parts.store.situation(G).generation

    asyncio.run(scenario())


def test_names_that_no_graph_has_leave_nothing_behind(parts: WriterParts) -> None:
    async def scenario() -> None:
        for number in range(20):
            with pytest.raises(NotFound):
                await parts.writer.change(f"g{number}", arrived(1))
        gc.collect()
        assert len(parts.writer._locks) == 0

    asyncio.run(scenario())


def test_a_deleted_graph_has_no_table_and_no_counts(parts: WriterParts) -> None:
    async def scenario() -> None:
        await parts.live(1, spec())
        parts.totals.take(G, "a", Report({1: Tally(requests=3)}))
        await parts.writer.change(G, operations.deleted)
        assert await parts.generation() is None
        assert parts.totals.totals(G) == Report()

    asyncio.run(scenario())


def test_at_the_start_every_table_goes_out(parts: WriterParts, tmp_path: Path) -> None:
    async def scenario() -> None:
        for graph in ("digits", "iris"):
            parts.store.ensure_revision(graph, spec(), "d", force=True)
        parts.store.ensure_revision("broken", "nonsense", "d", force=True)
        await parts.writer.publish_all()
        assert await parts.generation("digits") == 1
        assert await parts.generation("iris") == 1
        assert await parts.generation("broken") is None

    asyncio.run(scenario())


def test_changes_at_the_same_time_end_with_the_newest_table(parts: WriterParts) -> None:
    async def scenario() -> None:
        await parts.live(1, spec())
        parts.store.ensure_revision(G, spec(), "d", intent=Intent("canary", 10), force=True)
        await parts.writer.change(G, arrived(2))
        splits = [
            partial(operations.split, weights={1: 100.0 - share, 2: float(share)})
            for share in range(1, 21)
        ]
        await asyncio.gather(*(parts.writer.change(G, split) for split in splits))
        table = await parts.topics.table(G, "test", 0)
        stored = parts.store.situation(G)
        assert table is not None
        assert table.generation == stored.generation
        assert table.weights == stored.situation.weights

    asyncio.run(scenario())
