"""The replica of monitors, and the way to it, without Serve."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.errors import Unavailable
from anabranch.graph.compile.loading import open_graph
from anabranch.graph.monitor.metrics import MonitorMetrics
from anabranch.graph.monitor.windows import Monitoring, Result, Turn, load_monitors
from anabranch.graph.observe.monitor_copies import MOST, Seen
from anabranch.serve.calls.sending import Sender
from anabranch.serve.replicas import monitors
from anabranch.serve.replicas.base import StartError
from anabranch.serve.replicas.monitors import MOST_WAITING, STUCK_S, MonitorReplica, Teller
from anabranch.telemetry.definitions import OUTLET_DROPPED, OUTLET_SELECTED, OUTLET_SENT
from anabranch.telemetry.registry import MAX_FEATURES, REGISTRY, Registry
from tests.serve.replicas.created import created
from tests.waiting import until

CODE = """
import threading

class Held:
    begun, release = threading.Event(), threading.Event()

    def score(self, x):
        self.begun.set()
        self.release.wait(60)
        return 0.5
"""
KS = {"method": "ks", "reference": {"first": 100}, "window": 50}


def graph(**monitors: Any) -> str:
    body = {
        "inputs": {"x": {"datatype": "FP64", "shape": [-1, 2]}},
        "nodes": {"a": {"type": "transformer", "method": "softmax", "inputs": {"x": "x"}}},
        "outputs": {"y": "a"},
        "monitors": monitors,
    }
    about = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph", "metadata": {"name": "g"}}
    return json.dumps(about | {"spec": body})


def rows(count: int, shift: float = 0.0, columns: int = 2) -> list[Seen]:
    values = np.random.default_rng(0).normal(shift, 1, (count, columns))
    return [Seen("x", str(index), row[None]) for index, row in enumerate(values)]


class Controller:
    """Hears what a teller tells, once it is there."""

    def __init__(self) -> None:
        self.away = threading.Event()
        self.told: list[tuple[str, int, Sequence[Result], Sequence[Turn]]] = []
        self.refused = 0

    def ask(self, method: str, *arguments: Any, timeout: float) -> None:
        assert method == "monitored"
        if self.away.is_set():
            self.refused += 1
            raise TimeoutError("it is away")
        self.told.append(arguments)  # type: ignore[arg-type]


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Controller:
    one = Controller()
    monkeypatch.setattr(monitors, "ControllerActor", lambda: one)
    monkeypatch.setattr(monitors, "RETRY_S", 0.01)
    monkeypatch.setattr(monitors, "step_aside", lambda: None)
    monkeypatch.setenv("ANABRANCH_GRAPH", "g")
    monkeypatch.setenv("ANABRANCH_REVISION", "3")
    monkeypatch.delenv("ANABRANCH_HOME", raising=False)
    return one


async def started(folder: Path, **monitors: Any) -> MonitorReplica:
    (folder / "graph.json").write_text(graph(**monitors))
    (folder / "c.py").write_text(CODE)
    return await created(MonitorReplica, "graph.json", [])


async def ended(replica: MonitorReplica) -> None:
    await MonitorReplica.__del__(replica)


def test_what_is_found_is_told_also_to_a_controller_that_was_away(
    tmp_path: Path, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    controller.away.set()

    async def main() -> None:
        replica = await started(tmp_path, one=KS, two={"method": "sketch", "window": 50})
        assert await replica.watch(pickle.dumps(rows(100)), 60) == "taken"
        assert await replica.watch(pickle.dumps(rows(50, shift=3)), 60) == "taken"
        await asyncio.to_thread(until, lambda: controller.refused > 1)
        controller.away.clear()
        await asyncio.to_thread(until, lambda: any(told[3] for told in controller.told))
        await replica.check_health()
        await ended(replica)

    asyncio.run(main())
    (heard,) = [told for told in controller.told if told[3]]
    name, revision, results, turns = heard
    assert (name, revision) == ("g", 3)
    assert [(one.monitor, one.windows) for one in results] == [("one", 1), ("two", 3)]
    assert [(turn.monitor, turn.began) for turn in turns] == [("one", True)]
    snapshot = REGISTRY.snapshot()
    assert snapshot["anabranch_monitor_rows_total"]["g", "3", "two"] >= 150
    assert snapshot["anabranch_monitor_drift"]["g", "3", "one"] == 1
    assert ("g", "3", "two", "x[0]", "0.5") in snapshot["anabranch_monitor_quantile"]


def test_a_look_that_hangs_refuses_others_and_makes_the_replica_unwell(
    tmp_path: Path, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        replica = await started(tmp_path, held={"component": "c.py:Held", "window": 2})
        held: Any = replica._monitors[0]._phases[0].look
        calls = [
            asyncio.create_task(replica.watch(pickle.dumps(rows(2)), 600))
            for _ in range(MOST_WAITING)
        ]
        assert await asyncio.to_thread(held._instance.begun.wait, 10)
        assert await replica.watch(pickle.dumps(rows(2)), 600) == "full"
        await replica.check_health()
        now = time.monotonic()
        monkeypatch.setattr(monitors.time, "monotonic", lambda: now + STUCK_S + 1)
        with pytest.raises(StartError, match="looked at the same rows for 120s"):
            await replica.check_health()
        monkeypatch.undo()
        held._instance.release.set()
        assert set(await asyncio.gather(*calls)) == {"taken"}
        await ended(replica)

    asyncio.run(main())


class Slow:
    """A thread that has begun with all that it gets, and is done with nothing."""

    def submit(self, *_: Any) -> Future[None]:
        work: Future[None] = Future()
        work.set_running_or_notify_cancel()
        return work


def test_values_are_late_only_where_nobody_looks_at_them(
    tmp_path: Path, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values behind others in the queue are; those whose turn has come are not, however slow."""
    monkeypatch.chdir(tmp_path)
    looked: list[int] = []

    async def main() -> None:
        replica = await started(tmp_path, held={"component": "c.py:Held", "window": 2})
        held: Any = replica._monitors[0]._phases[0].look
        look = replica._look

        def counted_look(data: bytes) -> None:
            looked.append(len(pickle.loads(data)))
            look(data)

        monkeypatch.setattr(replica, "_look", counted_look)
        first = asyncio.create_task(replica.watch(pickle.dumps(rows(2)), 600))
        assert await asyncio.to_thread(held._instance.begun.wait, 10)
        assert await replica.watch(pickle.dumps(rows(3)), 0) == "late"
        with monkeypatch.context() as patch:
            patch.setattr(replica, "_worker", Slow())
            assert await replica.watch(pickle.dumps(rows(3)), 0) == "taken"
        abandoned = asyncio.create_task(replica.watch(pickle.dumps(rows(4)), 600))
        await asyncio.sleep(0)
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        last = asyncio.create_task(replica.watch(pickle.dumps(rows(5)), 600))
        held._instance.release.set()
        assert {await first, await last} == {"taken"}
        await ended(replica)

    asyncio.run(main())
    assert looked == [2, 5]


def test_a_reference_that_is_missing_is_why_it_cannot_start(
    tmp_path: Path, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.npy").touch()
    with pytest.raises(StartError, match=r"monitor 'one': reference 'r.npy' cannot be read"):
        asyncio.run(started(tmp_path, one={**KS, "reference": {"data": "r.npy"}}))


# --- the way there


class Handle:
    """A handle of Serve whose replica answers as it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.batches: list[Sequence[Seen]] = []
        self.watch = self

    def remote(self, data: bytes, seconds: float) -> Any:
        self.batches.append(pickle.loads(data))
        return asyncio.ensure_future(self._answered())

    async def _answered(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await asyncio.sleep(3600)
        return self.answer


def counted(graph: str) -> tuple[float, float, float]:
    """What was selected, sent and dropped by the outlet of a graph."""
    cells = REGISTRY.snapshot()

    def total(name: str) -> float:
        found = cells.get(name, {}).items()
        return sum(value for key, value in found if key[:2] == (graph, "monitors"))  # type: ignore[misc]

    return total(OUTLET_SELECTED.name), total(OUTLET_SENT.name), total(OUTLET_DROPPED.name)


@pytest.mark.parametrize(
    ("answer", "sent"),
    [("taken", True), ("full", False), ("late", False), (Unavailable("gone"), False),
     (None, False)],
)  # fmt: skip
def test_what_is_offered_is_sent_or_dropped(
    answer: Any, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"sending-{answer}"
    if answer is None:
        monkeypatch.setattr("anabranch.serve.calls.sending.ANSWER_S", 0.1)

    async def main() -> Handle:
        sender = Sender(name, "g.r3")
        sender._handle = handle = Handle(answer)
        for one in rows(5):
            assert sender.offer(one, 100)
        await asyncio.to_thread(until, lambda: sum(counted(name)[1:]) == 5)
        await asyncio.to_thread(sender.close)
        return handle

    handle = asyncio.run(main())
    assert [one.request for batch in handle.batches for one in batch] == list("01234")
    assert counted(name) == ((5, 5, 0) if sent else (5, 0, 5))
    late = REGISTRY.snapshot()[OUTLET_DROPPED.name].get((name, "monitors", "late"), 0)
    assert late == (5 if answer in ("late", None) else 0)


def test_only_so_many_values_wait() -> None:
    async def main() -> list[bool]:
        sender = Sender("full", "g.r3")
        sender._handle = Handle(None)
        found = [sender.offer(one, 100) for one in rows(1) * (MOST + 10)]
        found.append(sender.offer(rows(1)[0], 5 * 2**20))
        await asyncio.to_thread(sender.close)
        return found

    found = asyncio.run(main())
    assert sum(found) == MOST and not any(found[MOST:])
    selected, sent, dropped = counted("full")
    assert selected == MOST + 11 and sent == 0 and dropped >= 11


def test_only_so_many_features_have_a_label(tmp_path: Path) -> None:
    registry = Registry()
    data = json.loads(graph(one=KS))
    data["spec"]["inputs"]["x"]["shape"] = [-1, 100]
    (tmp_path / "graph.json").write_text(json.dumps(data))
    one: Monitoring
    (one,) = load_monitors(open_graph(tmp_path / "graph.json").plan, tmp_path, None)
    shown = MonitorMetrics("g", "3", one, registry)
    one.take(rows(150, columns=100))
    shown.show(one.result())
    cells = registry.snapshot()["anabranch_monitor_feature_score"]
    assert len(cells) == MAX_FEATURES + 1
    assert ("g", "3", "one", "other") in cells
    assert registry.snapshot()["anabranch_monitor_rows_total"] == {("g", "3", "one"): 50}


def test_a_teller_ends(controller: Controller) -> None:
    teller = Teller([])
    teller.start()
    until(lambda: bool(controller.told))
    teller.close()
    teller._thread.join(10)
    assert not teller._thread.is_alive()
