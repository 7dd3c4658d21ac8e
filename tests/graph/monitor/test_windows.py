"""Monitors at work, from values of requests to what was found, without Ray."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import LoadError, SpecError
from anabranch.graph.compile.loading import load_data, open_graph
from anabranch.graph.execute.executor import HeadExecutor, SegmentExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.graph.monitor.windows import MOST_PENDING, Monitoring, Sampling, kept, load_monitors
from anabranch.graph.observe.monitor_copies import Seen, is_sampled, item_size
from anabranch.graph.plan.plan import Plan

CODE = """
import numpy as np


class Twice:
    def transform(self, x):
        x *= 2          # in place, as components may
        return x


class Split:
    def transform(self, x):
        return {"left": x[:, :1], "right": x[:, 1:]}


class Raises:
    def score(self, x):
        raise RuntimeError("no luck")


class Seasonal:
    made = 0

    def __init__(self):
        Seasonal.made += 1
        self.means = []

    def fit(self, x):
        self.means = [x.mean()]

    def score(self, x):
        assert Seasonal.made == 1 and len(self.means) == 1
        return abs(x.mean() - self.means[0])


class Many:
    def score(self, x, twice):
        assert (twice == 2 * x).all()
        return {"score": 0.5, "outliers": 1}
"""


def graph(monitors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "g"},
        "spec": {
            "inputs": {"x": {"datatype": "FP64", "shape": [-1, 2]}},
            "nodes": {
                "twice": {"type": "transformer", "component": "c.py:Twice", "inputs": {"x": "x"}},
                "split": {
                    "type": "transformer", "component": "c.py:Split", "inputs": {"x": "twice"},
                    "outputs": {
                        "left": {"datatype": "FP64", "shape": [-1, 1]},
                        "right": {"datatype": "FP64", "shape": [-1, 1]},
                    },
                },
                "one": {"type": "transformer", "method": "softmax", "inputs": {"x": "split.left"}},
                "other": {
                    "type": "transformer", "method": "softmax", "inputs": {"x": "split.right"},
                },
                "pick": {
                    "type": "router", "strategy": "rules", "otherwise": "one",
                    "rules": [{"when": "request.headers['to'] == 'other'", "to": "other"}],
                },
            },
            "outputs": {"y": "pick", "whole": "split.left"},
            "monitors": monitors,
        },
    }  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "c.py").write_text(CODE)
    return tmp_path


def plan_of(root: Path, **monitors: Any) -> Plan:
    path = root / "graph.json"
    path.write_text(json.dumps(graph(monitors)))
    return open_graph(path).plan


def loaded(
    root: Path,
    folder: Path | None = None,
    clock: Callable[[], float] = time.time,
    **monitor: Any,
) -> Monitoring:
    (one,) = load_monitors(plan_of(root, m=monitor), root, folder, clock)
    return one


def seen(rows: np.ndarray, source: str = "x", first: int = 0) -> Iterator[Seen]:
    """Each row as a request of its own."""
    for index, row in enumerate(rows, first):
        yield Seen(source, str(index), row[None])


KS = {"method": "ks", "watches": ["x"], "window": 50}


def normal(rows: int, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (rows, 2))


# --- what is observed


def observed(
    root: Path, watches: list[str], context: Context | None = None, wants: Any = None, **more: Any
) -> list[Seen]:
    plan = plan_of(root, m={"method": "sketch", "watches": watches, **more})
    found: list[Seen] = []

    async def run() -> None:
        names = list(plan.nodes)
        bound = await load_nodes(plan, names, root)
        executor = HeadExecutor(plan, bound, offer=lambda one, size: found.append(one))
        x = np.array([[1.0, 2.0], [3.0, 4.0]])
        await executor.run({"x": x}, context or Context("id", {"to": "one"}), wants)
        executor.close()

    asyncio.run(run())
    return found


def test_a_copy_of_what_is_watched_is_seen_once(root: Path) -> None:
    found = {one.source: one for one in observed(root, ["twice", "split.right", "pick"])}
    assert found["twice"].array.tolist() == [[2, 4], [6, 8]]
    assert found["split.right"].array.tolist() == [[4], [8]]
    assert found["pick"].array.tolist() == [[1], [1]]
    assert {one.request for one in found.values()} == {"id"}
    assert all(one.array.base is None for one in found.values())


def test_what_does_not_run_is_not_seen(root: Path) -> None:
    assert [one.source for one in observed(root, ["one", "other"])] == ["one"]
    assert [one.source for one in observed(root, ["twice", "pick"], wants=["whole"])] == ["twice"]


def test_what_no_client_has_asked_is_not_seen(root: Path) -> None:
    context = Context("warmup", {"to": "one"}, is_traffic=False)
    assert observed(root, ["x", "twice"], context) == []


def test_a_sample_is_the_same_everywhere(root: Path) -> None:
    ids = [str(number) for number in range(4000)]
    tenth = {one for one in ids if is_sampled(one, 0.1)}
    assert 300 < len(tenth) < 500
    assert tenth <= {one for one in ids if is_sampled(one, 0.5)}
    assert all(is_sampled(one, 1.0) for one in ids)
    inside, outside = next(iter(tenth)), next(one for one in ids if one not in tenth)
    for name, count in ((inside, 1), (outside, 0)):
        context = Context(name, {"to": "one"})
        assert len(observed(root, ["x"], context, sample="10%")) == count


def test_an_unwatched_graph_observes_nothing(root: Path) -> None:
    data = graph({})
    del data["spec"]["monitors"]
    plan = load_data(data, root).plan
    bound = asyncio.run(load_nodes(plan, list(plan.nodes), root))
    executor = HeadExecutor(plan, bound, offer=lambda one, size: None)
    assert executor._evaluator._observer is None


def test_a_segment_sees_its_own_nodes_and_no_others(root: Path) -> None:
    plan = plan_of(root, m={"method": "sketch", "watches": ["x", "twice", "split.left"]})
    found: list[Seen] = []

    async def run() -> None:
        bound = await load_nodes(plan, ["split"], root)
        executor = SegmentExecutor(
            plan, plan.head, bound, offer=lambda one, size: found.append(one)
        )
        x = np.array([[1.0, 2.0]])
        await executor.run({"x": x, "twice": x}, ("split",), Context("id"))
        # As when a branch is taken later: what it gave before is handed back.
        known = {"left": x[:, :1], "right": x[:, 1:]}
        await executor.run({"x": x, "twice": x, "split": known}, ("split",), Context("id"))
        executor.close()

    asyncio.run(run())
    assert [one.source for one in found] == ["split.left"]


def test_what_a_graph_that_streams_is_asked_is_seen_once(root: Path) -> None:
    (root / "s.py").write_text(
        "class Tokens:\n"
        "    async def predict(self, x):\n"
        "        for row in x:\n"
        "            yield row\n"
    )
    data = graph({"m": {"method": "sketch", "watches": ["x"]}})
    predictor = {"type": "predictor", "component": "s.py:Tokens", "inputs": {"x": "x"}}
    data["spec"] |= {"nodes": {"tokens": predictor}, "outputs": {"y": "tokens"}}
    plan = load_data(data, root).plan
    found: list[Seen] = []

    async def run() -> int:
        bound = await load_nodes(plan, list(plan.nodes), root)
        executor = HeadExecutor(plan, bound, offer=lambda one, size: found.append(one))
        results = executor.stream({"x": np.zeros((3, 2))}, Context("id"))
        count = len([one async for one in results])
        executor.close()
        return count

    assert asyncio.run(run()) == 3
    assert [one.source for one in found] == ["x"]


def test_sizes_count_texts_too() -> None:
    assert item_size(np.zeros(100)) > 800
    assert item_size(np.array(["a" * 10] * 100, object)) > 6000


# --- windows


def test_windows_are_looked_at_as_they_fill(root: Path) -> None:
    np.save(root / "r.npy", normal(500))
    one = loaded(root, reference={"data": "r.npy"}, **KS)
    assert not one.take(seen(normal(49, seed=1)))
    result = one.result()
    assert (result.windows, result.gathered, result.wanted, result.score) == (0, 49, 50, None)
    assert one.take(seen(normal(51, seed=2)))
    result = one.result()
    assert (result.windows, result.rows, result.gathered) == (2, 100, 0)
    assert result.score is not None and result.score < 1
    assert [each.name for each in sorted(result.features, key=lambda f: f.name)] == ["x[0]", "x[1]"]


def test_one_request_may_fill_several_windows(root: Path) -> None:
    np.save(root / "r.npy", normal(500))
    one = loaded(root, reference={"data": "r.npy"}, **KS)
    one.take([Seen("x", "1", normal(170))])
    assert (one.result().windows, one.result().gathered) == (3, 20)


def test_drift_begins_with_a_window_and_ends_after_two_without(root: Path) -> None:
    np.save(root / "r.npy", normal(500))
    one = loaded(root, reference={"data": "r.npy"}, **KS)
    one.take(seen(normal(50)))
    assert one.turns() == []
    one.take(seen(normal(100, shift=3)))
    (began,) = one.turns()
    assert began.began and began.score > 1
    assert {feature.name for feature in began.features} == {"x[0]", "x[1]"}
    assert one.result().drift_since == began.at and one.result().alarms == 1
    one.take(seen(normal(50, seed=1)))
    assert one.turns() == []
    one.take(seen(normal(50, seed=2)))
    (ended,) = one.turns()
    assert not ended.began and one.result().drift_since is None


def test_the_first_rows_may_be_the_reference(root: Path) -> None:
    one = loaded(root, reference={"first": 120}, **KS)
    one.take(seen(normal(100)))
    result = one.result()
    assert (result.has_reference, result.gathered, result.wanted) == (False, 100, 120)
    one.take(seen(normal(70, seed=1)))
    assert one.result().has_reference and one.result().windows == 1
    one.take(seen(normal(50, shift=3)))
    assert one.result().drift_since is not None


def test_a_long_reference_is_sampled() -> None:
    sampling = Sampling(100)
    for start in range(0, 5000, 50):
        sampling.add({"x": np.arange(start, start + 50.0)})
    assert sampling.seen == 5000 and len(sampling.kept["x"]) == 100
    assert 2000 < sampling.kept["x"].mean() < 3000
    assert (np.diff(sampling.kept["x"]) > 0).all()
    assert kept(50) == 1000 and kept(500) == 5000


def test_tensors_of_a_request_are_looked_at_together(root: Path) -> None:
    monitor = {"component": "c.py:Many", "watches": ["x", "twice"], "window": 50}
    one = loaded(root, **monitor)
    rows = normal(60)
    one.take(seen(rows))
    one.take(reversed(list(seen(2 * rows, "twice"))))
    result = one.result()
    assert (result.windows, result.rows, result.outliers, result.errors) == (1, 50, 1, 0)


def test_what_never_becomes_whole_is_forgotten(root: Path) -> None:
    one = loaded(root, component="c.py:Many", watches=["x", "twice"], window=50)
    one.take(seen(normal(MOST_PENDING + 60)))
    one.take(reversed(list(seen(2 * normal(MOST_PENDING + 60), "twice"))))
    assert one.result().rows + one.result().gathered == MOST_PENDING


def test_what_fails_is_told_and_costs_one_window(root: Path) -> None:
    one = loaded(root, component="c.py:Raises", watches=["x"], window=50)
    assert one.take(seen(normal(50)))
    result = one.result()
    assert (result.windows, result.rows, result.errors, result.score) == (1, 0, 1, None)
    assert "score() raised RuntimeError: no luck" in result.error
    assert one.turns() == []


def test_requests_that_differ_in_shape_are_left_out(root: Path) -> None:
    np.save(root / "r.npy", normal(500))
    one = loaded(root, reference={"data": "r.npy"}, **KS)
    one.take(seen(normal(10)))
    assert one.take([Seen("x", "odd", np.zeros((1, 3)))])
    assert "differ in the shapes of rows" in one.result().error
    one.take(seen(normal(40)))
    assert one.result().windows == 1 and one.result().error == ""


# --- what is kept over a restart


def test_a_restart_goes_on(root: Path) -> None:
    folder = root / "kept" / "r1"
    monitor = {**KS, "reference": {"first": 100}}
    one = loaded(root, folder, **monitor)
    one.take(seen(normal(100)))
    one.take(seen(normal(100, shift=3)))
    before = one.result()
    again = loaded(root, folder, **monitor)
    after = again.result()
    assert after.has_reference and after.score is None
    assert (after.windows, after.rows, after.alarms) == (2, 100, 1)
    assert after.drift_since == before.drift_since
    again.take(seen(normal(50, seed=1)))
    assert again.result().windows == 3 and again.result().score < 1  # type: ignore[operator]


HOUR = 3600.0


class Days:
    """A clock, and requests whose mean follows the time of day."""

    def __init__(self) -> None:
        self.hour = 0

    def now(self) -> float:
        return (self.hour + 0.5) * HOUR

    def pass_by(self, days: int, monitor: Monitoring, shift: float = 0.0) -> list[bool]:
        """Let days pass with 60 rows an hour; return the turns of the monitor."""
        found = []
        for _ in range(days * 24):
            mean = 3 * np.sin(2 * np.pi * self.hour / 24) + shift
            monitor.take(seen(normal(60, mean, seed=self.hour)))
            found += [turn.began for turn in monitor.turns()]
            self.hour += 1
        return found


DAILY = {"first": 100, "season": "24h"}


def test_a_season_is_no_drift_where_phases_are_compared(root: Path) -> None:
    days = Days()
    blind = loaded(root, clock=days.now, **KS, reference={"first": 100})
    assert days.pass_by(1, blind)[0] is True, "a part of the day looks like drift"
    days = Days()
    monitor = loaded(root, clock=days.now, **KS, reference=DAILY)
    assert days.pass_by(1, monitor) == []
    result = monitor.result()
    assert (result.has_reference, result.gathered, result.wanted) == (False, 60, 100)
    assert days.pass_by(6, monitor) == []
    assert monitor.result().has_reference and monitor.result().windows > 24
    assert days.pass_by(2, monitor, shift=2.0)[0] is True


def test_a_component_is_constructed_once_and_fitted_for_each_phase(root: Path) -> None:
    days = Days()
    own = {"component": "c.py:Seasonal", "watches": ["x"], "window": 50}
    monitor = loaded(root, clock=days.now, **own, reference=DAILY)
    assert days.pass_by(6, monitor) == []
    assert (monitor.result().error, monitor.result().windows > 24) == ("", True)
    assert days.pass_by(1, monitor, shift=2.0)[0] is True


def test_a_restart_knows_the_references_of_all_phases(root: Path, tmp_path: Path) -> None:
    days = Days()
    first = loaded(root, tmp_path / "kept", days.now, **KS, reference=DAILY)
    days.pass_by(2, first)
    again = loaded(root, tmp_path / "kept", days.now, **KS, reference=DAILY)
    assert again.result().has_reference
    assert days.pass_by(2, again) == []
    assert days.pass_by(1, again, shift=2.0) == [True]


def test_a_phase_that_has_its_reference_waits_for_no_other(root: Path) -> None:
    """A graph that is asked in one hour of the day only."""
    days = Days()
    monitor = loaded(root, clock=days.now, **KS, reference={"first": 100, "season": "24h"})
    monitor.take(seen(normal(150)))
    assert monitor.result().has_reference and monitor.result().windows == 1
    days.hour = 1
    assert not monitor.result().has_reference


def test_phases_may_be_few(root: Path) -> None:
    days = Days()
    halves = {"first": 24 * 60, "season": "48h", "phases": 2}
    monitor = loaded(root, clock=days.now, **KS, reference=halves)
    days.pass_by(1, monitor)
    assert not monitor.result().has_reference
    days.pass_by(1, monitor)
    assert monitor.result().has_reference


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"data": "r.npy", "season": "24h"}, "reference.season: needs `first`: rows of a file"),
        ({"first": 100, "phases": 12}, "reference.phases: are those of a `season`; give its"),
        ({"first": 100, "season": "0s"}, "reference.season: must be more than 0"),
        ({"first": 100, "season": "24h", "phases": 1}, "reference.phases: must be at least 2"),
    ],
)
def test_seasons_that_make_no_sense(root: Path, reference: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        plan_of(root, m={**KS, "reference": reference})


def test_what_was_kept_and_cannot_be_read_is_gathered_anew(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = root / "kept"
    folder.mkdir()
    (folder / "m.json").write_text("{")
    (folder / "m.npz").write_text("{")
    one = loaded(root, folder, **KS, reference={"first": 100})
    assert not one.result().has_reference and one.result().windows == 0
    assert "m.json cannot be read" in caplog.text and "m.npz cannot be read" in caplog.text


def test_a_folder_that_cannot_be_written_costs_nothing_else(root: Path) -> None:
    (root / "file").touch()
    one = loaded(root, root / "file" / "r1", **KS, reference={"first": 100})
    one.take(seen(normal(150)))
    assert one.result().windows == 1


# --- what cannot be loaded


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((20, 3)), r"reference 'r.npy' has rows of \[3\] values for 'x', which are \[2\]"),
        (np.zeros((5, 2)), "it has 5 rows, and 10 are the least"),
    ],
)
def test_a_reference_that_does_not_fit_is_named(root: Path, rows: np.ndarray, message: str) -> None:
    np.save(root / "r.npy", rows)
    with pytest.raises(LoadError, match=f"^monitor 'm': {message}"):
        loaded(root, reference={"data": "r.npy"}, **KS)


def test_only_the_newest_revisions_are_kept(root: Path) -> None:
    for number in range(1, 30):
        (root / "kept" / f"r{number}").mkdir(parents=True)
    (root / "kept" / "other").mkdir()
    loaded(root, root / "kept" / "r29", **KS, reference={"first": 100})
    left = {one.name for one in (root / "kept").iterdir()}
    assert left == {"other", *(f"r{number}" for number in range(14, 30))}
