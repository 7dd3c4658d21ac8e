"""Copies to mirrors: what they may hold, what they may not disturb, and what is counted."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.errors import NodeError, Unavailable
from anabranch.router.limits import RequestLimits
from anabranch.router.measure.tally import MirrorTally
from anabranch.specs.models import Traffic
from tests.collector import without_collector
from tests.examples import examples
from tests.router.conftest import forever

Demo = Callable[..., Any]


async def double(inputs: Any, context: Context) -> dict[str, Any]:
    return {"doubled": inputs["x"] * 2, "rows": np.array(inputs["x"].shape[0])}


async def triple(inputs: Any, context: Context) -> dict[str, Any]:
    return {"doubled": inputs["x"] * 3, "rows": np.array(inputs["x"].shape[0])}


def failing(error: BaseException) -> Any:
    async def fail(inputs: Any, context: Context) -> dict[str, Any]:
        raise error

    return fail


def tally(graph: Any, revision: int = 2) -> MirrorTally:
    found = graph.arms.report().mirrors[revision]
    assert found.selected == found.sent + found.dropped
    assert found.sent == found.compared + found.errors + found.pending
    return found  # type: ignore[no-any-return]


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def mirrored(demo: Demo, mirror: Any, primary: Any = double, **more: Any) -> Any:
    graph = demo({1: primary, 2: mirror}, draws=[0.0] * 1000, **more)
    graph.apply({1: 1}, mirrors={2: 50.0})
    return graph


def tensor(rows: int) -> dict[str, Any]:
    data = [float(number) for number in range(rows * 2)]
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 2], "data": data}]}


def ask(graph: Any, count: int = 1, **asked: Any) -> list[Any]:
    """Ask so often, then let the copies go as far as they can, and stop."""

    async def main() -> list[Any]:
        answers = [await graph.ask(**asked) for _ in range(count)]
        await settle()
        tally(graph)
        return answers

    return asyncio.run(main())


@pytest.mark.parametrize(("mirror", "agreed"), [(double, 3), (triple, 0)])
def test_a_healthy_mirror_is_compared(demo: Demo, mirror: Any, agreed: int) -> None:
    graph = mirrored(demo, mirror)
    answers = ask(graph, 3)
    assert {answer["model_version"] for _, answer in answers} == {"1"}
    found = tally(graph)
    assert (found.sent, found.compared, found.agreed, found.close) == (3, 3, agreed, agreed)
    assert found.latency.quantile(0.5) == found.primary.quantile(0.5)
    assert (found.pending, found.kinds) == (0, {})
    assert graph.arms.report().arms[2].requests == 0


def test_each_mirror_gets_its_share(demo: Demo) -> None:
    graph = demo(dict.fromkeys((1, 2, 3), double), draws=[0.1, 0.1, 0.3, 0.3])
    graph.apply({1: 1}, mirrors={2: 50.0, 3: 25.0})
    ask(graph, 2)
    assert (tally(graph, 2).sent, tally(graph, 3).sent) == (2, 1)


def test_an_arm_gets_no_copy_of_what_it_answered_itself(demo: Demo) -> None:
    graph = demo({1: double, 2: double}, draws=[0.9, 0.1, 0.0])
    graph.apply({1: 1, 2: 1}, mirrors={2: 50.0})
    ask(graph, 2)
    assert tally(graph).sent == 1
    assert {n: arm.requests for n, arm in graph.arms.report().arms.items()} == {1: 1, 2: 1}


def test_copies_are_marked_and_carry_the_request(demo: Demo) -> None:
    graph = mirrored(demo, double)
    asked = tensor(1) | {"id": "mine", "parameters": {"a": 1}, "outputs": [{"name": "doubled"}]}
    ask(graph, body=asked, headers={"x-user": "someone"})
    ask(graph, headers={"x-request-id": "theirs"})
    first, second = graph.heads[2].seen
    assert first.headers == {"x-user": "someone", "x-anabranch-mirror": "2"}
    assert (first.id, first.parameters, second.id) == ("mine", {"a": 1}, "theirs")
    assert "x-anabranch-mirror" not in graph.heads[1].seen[0].headers


def test_what_is_marked_is_not_mirrored_again(demo: Demo) -> None:
    graph = mirrored(demo, double)
    (answer,) = ask_only(graph, headers={"x-anabranch-mirror": "7"})
    assert answer[0] == 200
    assert graph.arms.report().mirrors == {}
    assert graph.arms.report().arms[1].requests == 1


def ask_only(graph: Any, **asked: Any) -> list[Any]:
    async def main() -> list[Any]:
        answers = [await graph.ask(**asked)]
        await settle()
        return answers

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("mirror", "kind"),
    [
        (failing(NodeError("n", "no")), "NodeError"),
        (failing(Unavailable("no")), "Unavailable"),
        (failing(ZeroDivisionError()), "ZeroDivisionError"),
        (failing(asyncio.CancelledError()), "Cancelled"),
        (failing(MemoryError()), "MemoryError"),
    ],
)
def test_whatever_a_mirror_does_the_client_sees_nothing(demo: Demo, mirror: Any, kind: str) -> None:
    graph = mirrored(demo, mirror)
    healthy = mirrored(demo, double)
    assert ask(graph, 5) == ask(healthy, 5)
    found = tally(graph)
    assert (found.sent, found.errors, found.kinds, found.pending) == (5, 5, {kind: 5}, 0)


def test_a_mirror_that_does_not_take_the_request_fails(demo: Demo) -> None:
    graph = demo({1: double, 2: double}, draws=[0.0])
    other = graph.signature({"y": ("FP32", (-1, 2))})
    graph.apply({1: 1}, mirrors={2: 50.0}, revisions={1: graph.signature(), 2: other})
    assert ask(graph)[0][0] == 200
    assert tally(graph).kinds == {"InvalidRequest": 1}


def test_a_hung_mirror_has_the_time_of_its_graph(demo: Demo) -> None:
    graph = demo({1: double, 2: forever}, draws=[0.0])
    signatures = {1: graph.signature(), 2: graph.signature(timeout=0.01)}
    graph.apply({1: 1}, mirrors={2: 50.0}, revisions=signatures)

    async def main() -> None:
        await graph.ask()
        await asyncio.wait(graph.arms._mirrors._tasks)
        await settle()

    asyncio.run(main())
    assert tally(graph).kinds == {"DeadlineExceeded": 1}


@settings(max_examples=examples(40))
@given(
    rows=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    cap=st.integers(0, 12),
    kilobytes=st.integers(0, 4),
)
def test_a_hung_mirror_holds_what_it_may_and_no_more(
    demo: Demo, rows: list[int], cap: int, kilobytes: int
) -> None:
    """Every request gets the answer that it gets without a mirror; the rest is dropped, counted."""
    limits = RequestLimits(max_mirrors=cap, max_mirror_bytes=kilobytes * 1024)
    graph, alone = mirrored(demo, forever, limits=limits), demo({1: double})
    alone.apply({1: 1})

    async def main() -> None:
        held: list[int] = []
        for count in rows:
            assert await graph.ask(body=tensor(count)) == await alone.ask(body=tensor(count))
            await asyncio.sleep(0)
            size = count * 2 * 4 * 2 + 8
            if len(held) < cap and sum(held) + size <= limits.max_mirror_bytes:
                held.append(size)
            assert tally(graph).pending == len(held)
            assert graph.arms._mirrors._copies.held == sum(held)
        assert tally(graph).selected == len(rows)
        await graph.arms.close()
        await settle()
        found = tally(graph)
        assert (found.pending, graph.arms._mirrors._copies.held) == (0, 0)
        assert found.kinds == ({"Cancelled": found.sent} if found.sent else {})

    asyncio.run(main())


@pytest.mark.parametrize("ends", ["answered", "failed", "gone"])
def test_copies_are_bounded_while_their_requests_are_evaluated(demo: Demo, ends: str) -> None:
    go_on, gone = asyncio.Event(), asyncio.Event()

    async def wait(inputs: Any, context: Context) -> dict[str, Any]:
        await go_on.wait()
        if ends == "failed":
            raise NodeError("n", "no")
        return await double(inputs, context)

    graph = mirrored(demo, forever, wait, limits=RequestLimits(max_mirror_bytes=2048))
    mirrors = graph.arms._mirrors

    async def main() -> None:
        asked = [asyncio.create_task(graph.ask(body=tensor(100), gone=gone)) for _ in range(10)]
        await settle()
        assert mirrors._copies.held == 1600
        (gone if ends == "gone" else go_on).set()
        await asyncio.gather(*asked)
        if ends == "answered":
            assert (tally(graph).sent, tally(graph).dropped) == (1, 9)
        assert mirrors._copies.held == (1608 if ends == "answered" else 0)
        await graph.arms.close()
        await settle()
        assert mirrors._copies.held == 0

    asyncio.run(main())


def test_parameters_take_room_too(demo: Demo) -> None:
    graph = mirrored(demo, double, limits=RequestLimits(max_mirror_bytes=2**16))
    ask(graph, body=tensor(1) | {"parameters": {"a": 1, "b": "short"}})
    assert tally(graph).sent == 1
    for large in ({"a": "x" * 2**16}, {"x" * 2**16: True}, {f"p{n}": n for n in range(1000)}):
        ask(graph, body=tensor(1) | {"parameters": large})
    assert (tally(graph).sent, tally(graph).dropped) == (1, 3)


def test_room_comes_back_when_copies_end(demo: Demo) -> None:
    graph = mirrored(demo, double, limits=RequestLimits(max_mirrors=1))
    for _ in range(5):
        ask(graph)
    assert tally(graph).sent == 5


def test_a_table_without_the_mirror_cancels_its_copies_and_no_others(demo: Demo) -> None:
    graph = demo({1: double, 2: forever, 3: forever}, draws=[0.0] * 2)
    graph.apply({1: 1}, mirrors={2: 50.0, 3: 50.0})

    async def main() -> None:
        await graph.ask()
        graph.apply({1: 1}, 2, mirrors={3: 10.0})
        await settle()

    async def checked() -> None:
        await main()
        assert (tally(graph, 2).pending, tally(graph, 2).kinds) == (0, {"Cancelled": 1})
        assert (tally(graph, 3).pending, tally(graph, 3).kinds) == (1, {})

    asyncio.run(checked())


@pytest.mark.parametrize("starts", [True, False])
def test_a_mirror_that_went_during_the_evaluation_gets_no_copy(demo: Demo, starts: bool) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(inputs: Any, context: Context) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        return await double(inputs, context)

    graph = mirrored(demo, double, wait)

    async def main() -> None:
        asked = asyncio.create_task(graph.ask())
        await begun.wait()
        if not starts:
            await graph.arms.close()
        go_on.set()
        assert (await asked)[0] == 200
        await settle()

    asyncio.run(main())
    assert len(graph.heads[2].seen) == starts
    assert set(graph.arms.report().mirrors) == ({2} if starts else set())


@pytest.mark.parametrize(
    ("primary", "status"), [(failing(NodeError("n", "no")), 500), (forever, 504)]
)
def test_a_request_that_failed_has_no_copy(demo: Demo, primary: Any, status: int) -> None:
    graph = demo({1: primary, 2: double}, draws=[0.0])
    signatures = dict.fromkeys((1, 2), graph.signature(timeout=0.01))
    graph.apply({1: 1}, mirrors={2: 50.0}, revisions=signatures)
    assert ask_only(graph)[0][0] == status
    assert graph.arms.report().mirrors == {}


def test_a_client_that_is_gone_before_its_reply_has_no_copy(demo: Demo) -> None:
    begun = asyncio.Event()

    async def wait(inputs: Any, context: Context) -> dict[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    graph = mirrored(demo, double, wait)
    assert ask_only(graph, gone=begun) == [(0, None)]
    assert graph.arms.report().mirrors == {}


def test_components_that_work_in_place_do_not_change_the_copy(demo: Demo) -> None:
    buffer = np.zeros((2, 2), np.float32)

    async def in_place(inputs: Any, context: Context) -> dict[str, Any]:
        x = inputs["x"]
        x *= 2
        context.parameters.clear()
        buffer[:] = x
        return {"doubled": buffer, "rows": np.array(2)}

    graph = mirrored(demo, double, in_place)

    async def main() -> None:
        await graph.ask(body=tensor(2) | {"parameters": {"a": 1}})
        buffer[:] = -1  # as the next request would, before the copy has begun
        await settle()

    asyncio.run(main())
    assert (tally(graph).compared, tally(graph).agreed) == (1, 1)
    assert graph.heads[2].seen[0].parameters == {"a": 1}


async def broken(inputs: Any, context: Context) -> dict[str, Any]:
    raise NodeError("n", "no")


@pytest.mark.parametrize("mirror", [double, broken, forever])
def test_what_a_copy_held_is_let_go_at_once(demo: Demo, mirror: Any) -> None:
    held: list[weakref.ref[Any]] = []

    async def note(inputs: Any, context: Context) -> dict[str, Any]:
        held.append(weakref.ref(inputs["x"]))
        return await mirror(inputs, context)  # type: ignore[no-any-return]

    graph = demo({1: double, 2: note}, draws=[0.0] * 3)
    signatures = {1: graph.signature(), 2: graph.signature(timeout=0.01)}
    graph.apply({1: 1}, mirrors={2: 50.0}, revisions=signatures)

    async def main() -> None:
        for _ in range(3):
            await graph.ask()
        await asyncio.wait(graph.arms._mirrors._tasks)
        await settle()
        assert [one() is None for one in held] == [True] * 3

    with without_collector():
        asyncio.run(main())


def test_copies_are_no_part_of_the_requests_own_context(demo: Demo) -> None:
    """Serve finds a request's calls by its context, and cancels them with it."""
    from contextvars import ContextVar

    mark: ContextVar[str] = ContextVar("mark", default="none")
    seen: list[str] = []

    async def look(inputs: Any, context: Context) -> dict[str, Any]:
        seen.append(mark.get())
        return await double(inputs, context)

    graph = mirrored(demo, look, look)

    async def main() -> None:
        mark.set("request")
        await graph.ask()
        await settle()

    asyncio.run(main())
    assert seen == ["request", "none"]


def test_tolerances_are_those_of_the_table(demo: Demo) -> None:
    graph = demo({1: double, 2: double}, draws=[0.0])
    rules: list[Any] = []
    compare = graph.heads[2].compare

    async def note(*given: Any) -> Any:
        rules.append(given[-1])
        return await compare(*given)

    graph.heads[2].compare = note
    policy = Traffic.model_validate({"compare": {"rtol": 0.5, "atol": 0.25}})
    graph.apply({1: 1}, mirrors={2: 50.0}, policy=policy)
    ask(graph)
    assert [(rule.rtol, rule.atol) for rule in rules] == [(0.5, 0.25)]
