"""Several revisions behind one graph's application, in this process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.errors import DeadlineExceeded, NodeError, NotFound, Unavailable
from anabranch.graph.plan.plan import Signature
from anabranch.router.limits import RequestLimits
from anabranch.specs.models import InputSpec, Traffic
from tests.examples import examples
from tests.router.conftest import forever

Demo = Callable[..., Any]


async def double(inputs: Any, context: Context) -> dict[str, Any]:
    return {"doubled": inputs["x"] * 2, "rows": np.array(inputs["x"].shape[0])}


def failing(error: Exception) -> Any:
    async def fail(inputs: Any, context: Context) -> dict[str, Any]:
        raise error

    return fail


def counted(graph: Any) -> dict[int, tuple[int, dict[str, int]]]:
    """Requests and kinds of errors by revision, of those that had any."""
    arms = graph.arms.report().arms.items()
    return {n: (tally.requests, tally.kinds) for n, tally in arms if tally.requests}


@pytest.mark.parametrize(
    ("draw", "version"),
    [(0.0, 1), (0.8999, 1), (0.9, 2), (0.9899, 2), (0.9901, 3), (0.99999, 3)],
)
def test_forced_draws_reach_the_exact_arm(demo: Demo, draw: float, version: int) -> None:
    graph = demo(dict.fromkeys((1, 2, 3, 4), double), draws=[draw])
    graph.apply({1: 90, 2: 9, 3: 1, 4: 0})
    assert asyncio.run(graph.versions(1)) == [version]
    assert counted(graph) == {version: (1, {})}


@settings(max_examples=examples(50))
@given(draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
def test_what_answered_is_what_is_counted(demo: Demo, draws: list[float]) -> None:
    graph = demo(dict.fromkeys((1, 2, 3), double), draws=draws)
    graph.apply({1: 1, 2: 1, 3: 1})
    answered = Counter(asyncio.run(graph.versions(len(draws))))
    assert {n: count for n, (count, _) in counted(graph).items()} == answered


def test_one_arm_needs_no_draw(demo: Demo) -> None:
    graph = demo({1: double, 2: double})
    graph.apply({1: 100, 2: 0})
    assert asyncio.run(graph.versions(3)) == [1, 1, 1]


def test_rules_see_headers_parameters_and_the_callers_id(demo: Demo) -> None:
    rules = [
        {"when": "request.headers['x-tester'] == 'yes'", "to": "candidate"},
        {"when": "request.id == 'mine'", "to": "r2"},
    ]
    graph = demo({1: double, 2: double}, draws=[0.5])
    graph.apply({1: 100, 2: 0}, policy=Traffic.model_validate({"rules": rules}))
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}

    async def ask() -> list[int]:
        tester = await graph.versions(1, headers={"x-tester": "yes"})
        mine = await graph.versions(1, body=body | {"id": "mine"})
        return tester + mine + await graph.versions(1, headers={"x-request-id": "yours"})

    assert asyncio.run(ask()) == [2, 2, 1]


def test_tables_change_under_load_and_no_request_fails(demo: Demo) -> None:
    """Every request is answered by a revision that some table in force meanwhile had."""

    async def slowly(inputs: Any, context: Context) -> dict[str, Any]:
        for _ in range(int(inputs["x"][0, 0]) % 7):
            await asyncio.sleep(0)
        return await double(inputs, context)

    graph = demo(dict.fromkeys(range(1, 6), slowly), draws=[n / 97 for n in range(97)] * 20)

    async def ask(index: int) -> int:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [index, 0]}
        (version,) = await graph.versions(1, body={"inputs": [tensor]})
        return int(version)

    async def main() -> list[int]:
        graph.apply({1: 1, 2: 1})
        tasks = []
        for generation in range(2, 102):
            tasks += [asyncio.create_task(ask(index)) for index in range(10)]
            await asyncio.sleep(0)
            arm = generation % 5 + 1
            graph.apply({arm: 100, arm % 5 + 1: 50}, generation)
        return await asyncio.gather(*tasks)

    versions = asyncio.run(main())
    assert len(versions) == 1000
    # Arms come and go, and their sums stay.
    assert {n: count for n, (count, _) in counted(graph).items()} == Counter(versions)


def test_an_arm_that_stays_keeps_its_head_its_sums_and_what_it_learnt(demo: Demo) -> None:
    graph = demo({1: double, 2: double, 3: double})

    async def main() -> None:
        graph.apply({1: 1, 2: 0})
        await graph.versions(2)
        graph.apply({1: 1, 3: 0}, 2)
        await graph.versions(1)
        graph.apply({1: 1, 2: 0}, 3)

    asyncio.run(main())
    assert graph.made == [1, 2, 3, 2]
    assert counted(graph) == {1: (3, {})}
    outputs = graph.arms.metadata().outputs
    assert [output.name for output in outputs] == ["doubled", "rows"]


def test_sums_of_revisions_that_come_and_go_are_bounded(demo: Demo) -> None:
    graph = demo(dict.fromkeys(range(1, 101), double), draws=[0.9, 0.0] * 100)

    async def main() -> None:
        for number in range(2, 101):
            graph.apply({1: 1, number: 1}, number, mirrors={number: 50.0})
            await graph.versions(1)

    asyncio.run(main())
    report = graph.arms.report()
    for tallies in (report.arms, report.mirrors):
        assert len(tallies) < 40
    assert {1, 100, 99, 98} <= report.arms.keys()


def test_requests_in_progress_end_on_the_revision_that_they_began_with(demo: Demo) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(inputs: Any, context: Context) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        return await double(inputs, context)

    graph = demo({1: wait, 2: double})

    async def main() -> list[int]:
        graph.apply({1: 1})
        first = asyncio.create_task(graph.versions(1))
        await begun.wait()
        graph.apply({2: 1}, 2)
        second = await graph.versions(1)
        go_on.set()
        return await first + second

    assert asyncio.run(main()) == [1, 2]
    assert counted(graph) == {1: (1, {}), 2: (1, {})}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"weights": {1: 1, 9: 0}, "revisions": "only 1"}, r"lacks the signatures .*\[9\]"),
        ({"weights": {1: 1}, "mirrors": {9: 5.0}, "revisions": "only 1"}, r"\[9\]"),
        ({"weights": {1: 1}, "stable": 9}, r"\[9\]"),
        ({"weights": {1: 0.0}}, "."),
        ({"weights": {1: float("nan")}}, "."),
    ],
)
def test_a_table_that_cannot_be_used_changes_nothing(
    demo: Demo, table: dict[str, Any], problem: str
) -> None:
    graph = demo({1: double, 2: double, 9: double})
    graph.apply({2: 1})
    if "revisions" in table:
        table = table | {"revisions": {1: graph.signature()}}
    with pytest.raises(ValueError, match=problem):
        graph.apply(generation=2, **table)
    assert asyncio.run(graph.versions(1)) == [2]


NARROW, WIDE = {"x": ("FP32", (-1, 2))}, {"x": ("FP32", (-1, -1))}


@pytest.mark.parametrize(
    ("stable", "candidate", "draw", "columns", "status", "expected"),
    [
        # Both would refuse it: the caller's mistake.
        (NARROW, NARROW, 0.9, 3, 400, {}),
        # The stable one refuses it itself, though the candidate would not.
        (NARROW, WIDE, 0.0, 3, 400, {}),
        # The candidate refuses what the stable one takes.
        (WIDE, NARROW, 0.9, 3, 400, {2: (1, {"InvalidRequest": 1})}),
        (WIDE, NARROW, 0.9, 2, 200, {2: (1, {})}),
        ({"x": ("FP32", (-1, 2))}, {"y": ("FP32", (-1, 2))}, 0.9, 2, 400, None),
    ],
)
def test_a_request_that_only_the_candidate_refuses_is_the_candidates_error(
    demo: Demo,
    stable: Any,
    candidate: Any,
    draw: float,
    columns: int,
    status: int,
    expected: dict[int, Any] | None,
) -> None:
    graph = demo({1: double, 2: double}, draws=[draw])
    signatures = {1: graph.signature(stable), 2: graph.signature(candidate)}
    graph.apply({1: 1, 2: 1}, revisions=signatures)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, columns], "data": [1.0] * columns}
    got, _ = asyncio.run(graph.ask(body={"inputs": [tensor]}))
    assert got == status
    wrong = {2: (1, {"InvalidRequest": 1})}
    assert counted(graph) == (wrong if expected is None else expected)


@pytest.mark.parametrize(
    "change",
    [{"parameters": {"timeout": -1}}, {"outputs": [{"name": "nothing"}]}],
)
def test_other_mistakes_of_the_caller_are_charged_to_nobody(demo: Demo, change: Any) -> None:
    graph = demo({1: double, 2: double}, draws=[0.9])
    graph.apply({1: 1, 2: 1})
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
    assert asyncio.run(graph.ask(body={"inputs": [tensor], **change}))[0] == 400
    assert counted(graph) == {}


async def unencodable(inputs: Any, context: Context) -> dict[str, Any]:
    return {"doubled": np.array([b"\xff"], object), "rows": np.array(1)}


async def typeless(inputs: Any, context: Context) -> dict[str, Any]:
    return {"doubled": np.array([1j]), "rows": np.array(1)}


async def lacking(inputs: Any, context: Context) -> dict[str, Any]:
    return {"doubled": inputs["x"]}


def test_inputs_of_unequal_sizes_are_charged_to_nobody(demo: Demo) -> None:
    inputs = {name: InputSpec(datatype="FP32", shape=("rows", 2)) for name in ("x", "y")}
    signature = Signature(inputs, {"doubled": None, "rows": None}, 60.0)
    graph = demo({1: double, 2: double}, draws=(0.95,))
    graph.apply({1: 90, 2: 10}, revisions={1: signature, 2: signature})
    tensors = [
        {"name": name, "datatype": "FP32", "shape": [rows, 2], "data": [1.0] * 2 * rows}
        for name, rows in (("x", 3), ("y", 2))
    ]
    status, answer = asyncio.run(graph.ask(body={"inputs": tensors}))
    assert (status, answer["error"]) == (
        400,
        "the size 'rows' must be the same in a request, but dimension 0 of 'x' has size 3, "
        "dimension 0 of 'y' has size 2",
    )
    assert counted(graph) == {}
    assert [one.shape for one in graph.arms.metadata().inputs] == [(-1, 2), (-1, 2)]


@pytest.mark.parametrize("draw", [0.1, 0.9])
@pytest.mark.parametrize(
    ("step", "status", "kind"),
    [
        (failing(NodeError("n", "no")), 500, "NodeError"),
        (failing(Unavailable("no")), 503, "Unavailable"),
        (failing(DeadlineExceeded("no")), 504, "DeadlineExceeded"),
        (failing(ZeroDivisionError()), 500, "ZeroDivisionError"),
        (lacking, 500, "KeyError"),
        (typeless, 500, "UnencodableOutput"),
        (unencodable, 500, "UnencodableOutput"),
        (forever, 504, "DeadlineExceeded"),
    ],
)
def test_errors_are_counted_by_kind_whichever_the_arm(
    demo: Demo, draw: float, step: Any, status: int, kind: str
) -> None:
    graph = demo({1: step, 2: step}, draws=[draw])
    graph.apply({1: 1, 2: 1}, revisions=dict.fromkeys((1, 2), graph.signature(timeout=0.01)))
    assert asyncio.run(graph.ask())[0] == status
    assert counted(graph) == {1 if draw < 0.5 else 2: (1, {kind: 1})}


def test_a_client_that_hangs_up_cancels_its_request_and_is_no_error(demo: Demo) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(inputs: Any, context: Context) -> dict[str, Any]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return {}

    graph = demo({1: wait})
    graph.apply({1: 1})

    async def main() -> tuple[int, Any]:
        answer: tuple[int, Any] = await graph.ask(gone=begun)
        return answer

    assert asyncio.run(main()) == (0, None)
    assert cancelled.is_set()
    assert counted(graph) == {}


def test_every_revision_of_the_table_is_reached_directly_and_not_counted(demo: Demo) -> None:
    graph = demo({1: double, 2: double, 3: failing(NodeError("n", "no"))})
    signatures = dict.fromkeys((1, 2, 3), graph.signature())
    graph.apply({1: 1}, revisions=signatures, mirrors={2: 100.0})

    async def main() -> list[Any]:
        found = [await graph.versions(1, path=f"/versions/{n}/infer") for n in (1, 2)]
        return [*found, (await graph.ask("/versions/3/infer"))[0]]

    assert asyncio.run(main()) == [[1], [2], 500]
    assert counted(graph) == {}
    assert graph.arms.report().mirrors == {}


@pytest.mark.parametrize("version", ["9", "0", "-1", "02", "2.0", "x", "²", "٢", "9" * 5000])
@pytest.mark.parametrize("path", ["", "/ready", "/infer"])
def test_an_unknown_revision_is_answered_with_those_there_are(
    demo: Demo, version: str, path: str
) -> None:
    graph = demo({1: double, 2: double, 10: double})
    graph.apply({2: 1, 10: 0}, revisions=dict.fromkeys((10, 1, 2), graph.signature()))
    status, answer = asyncio.run(graph.ask(f"/versions/{version}{path}"))
    assert status == 404
    assert f"no revision {version[:64]!r} that runs (there are: 1, 2, 10)" in answer["error"]
    with pytest.raises(NotFound):
        graph.arms.metadata(version)


@pytest.mark.parametrize("path", ["/versions", "/versions/1/no", "/versions/1/versions/1", "/x"])
def test_an_unknown_path_is_no_unknown_revision(demo: Demo, path: str) -> None:
    graph = demo({1: double})
    graph.apply({1: 1})
    status, answer = asyncio.run(graph.ask(path))
    assert (status, "has no path" in answer["error"]) == (404, True)


def test_metadata_is_that_of_the_stable_revision_or_of_the_one_asked_for(demo: Demo) -> None:
    graph = demo({1: double, 2: double, 10: double})
    signatures = dict.fromkeys((10, 1), graph.signature()) | {2: graph.signature(WIDE)}
    graph.apply({2: 1, 10: 1}, stable=2, revisions=signatures)

    async def main() -> list[Any]:
        return [(await graph.ask(path))[1] for path in ("", "/versions/10", "/versions/2/ready")]

    whole, one, ready = asyncio.run(main())
    assert (whole["versions"], whole["inputs"][0]["shape"]) == (["1", "2", "10"], [-1, -1])
    assert (one["versions"], one["inputs"][0]["shape"]) == (["10"], [-1, 2])
    assert ready == {"name": "demo", "ready": True}


def test_a_revision_that_hangs_does_not_use_up_the_places_of_the_stable_one(demo: Demo) -> None:
    graph = demo(
        {1: double, 2: forever}, limits=RequestLimits(max_ongoing=8), draws=[0.9] * 10 + [0.1]
    )
    graph.apply({1: 1, 2: 1})

    async def main() -> Any:
        tasks = [asyncio.create_task(graph.ask()) for _ in range(10)]
        await asyncio.sleep(0)
        over = [await task for task in tasks[6:]]
        answer = await graph.versions(1)
        for task in tasks[:6]:
            task.cancel()
        return over, answer

    over, answer = asyncio.run(main())
    assert answer == [1]
    assert {status for status, _ in over} == {503}
    assert "6 requests are in progress, the most that may be at other" in over[0][1]["error"]
    assert counted(graph) == {1: (1, {}), 2: (4, {"Unavailable": 4})}


@pytest.mark.parametrize("sketch", [True, False])
def test_outputs_are_sketched_where_the_table_asks_for_it(demo: Demo, sketch: bool) -> None:
    graph = demo({1: double, 2: double}, draws=[0.9])
    graph.apply({1: 1, 2: 1}, sketch=sketch)
    asyncio.run(graph.versions(1))
    outputs = graph.arms.report().arms[2].outputs
    assert set(outputs) == ({"doubled", "rows"} if sketch else set())


def test_latency_is_what_the_head_says(demo: Demo) -> None:
    graph = demo({1: double})
    graph.apply({1: 1})
    asyncio.run(graph.versions(3))
    latency = graph.arms.report().arms[1].latency.quantile(0.5)
    assert latency == pytest.approx(0.001, rel=0.03)
