"""Whatever a component raises, wherever it runs, is an error of its node and of one request."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import DeadlineExceeded, LoadError, NodeError
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes, run_hook, unload_nodes
from anabranch.graph.explain.explainer import Explaining
from tests.graph.raisers import ERRORS

ROOT = Path(__file__).parents[1]
GOOD, BAD = np.array([1]), np.array([-1])
STAND_IN = 9
PLACES = ["transformer", "predictor", "combiner", "router", "batched", "held"]
LANES = ["OnLoop", "InThread", "AsCoroutine"]

kinds = st.sampled_from(sorted(ERRORS))
Use = Callable[[HeadExecutor], Coroutine[Any, Any, Any]]


def graph(place: str, component: str, *, away: bool = False, **more: Any) -> Graph:
    """x → a, of the component, in some place of the language."""
    built = Graph("g", root=ROOT).input("x", "INT64", [-1]).output("y", "a")
    options: dict[str, Any] = {"component": f"raisers.py:{component}", **more}
    if away:
        options["placement"] = {"isolate": True}
    if place == "combiner":
        return built.combiner("a", inputs=["x", "x"], **options)
    options["inputs"] = {"x": "x"}
    if place == "router":
        same = {"component": "raisers.py:OnLoop", "args": {"kind": ""}, "inputs": {"x": "x"}}
        built.transformer("same", **same)
        return built.router("a", routes=["same"], **options)
    if place == "transformer":
        return built.transformer("a", **options)
    batching = {"batched": {"max_size": 8}, "held": {"max_size": 8, "max_delay": "2ms"}}
    if place in batching:
        options["batching"] = {"max_queue": 100, **batching[place]}
    return built.predictor("a", **options)


def use(built: Graph, work: Use) -> Any:
    async def main() -> Any:
        plan = built.plan
        executor = loopback(plan, await load_nodes(plan, plan.nodes, ROOT))
        try:
            async with asyncio.timeout(30):
                return await work(executor)
        finally:
            executor.close()

    return asyncio.run(main())


def is_of(error: object, kind: str) -> bool:
    """Whether an error names the node and the class of what was raised there."""
    name = ERRORS[kind].__name__
    return isinstance(error, NodeError) and error.node == "a" and name in error.reason


@given(
    place=st.sampled_from(PLACES),
    lane=st.sampled_from(LANES),
    kind=kinds,
    before=st.integers(0, 5),
    requests=st.lists(st.booleans(), min_size=1, max_size=8),
    away=st.booleans(),
)
def test_it_fails_the_request_that_it_was_raised_for_and_no_other(
    place: str, lane: str, kind: str, before: int, requests: list[bool], away: bool
) -> None:
    async def work(executor: HeadExecutor) -> None:
        async def one(value: np.ndarray[Any, Any]) -> Any:
            return (await executor.run({"x": value}, Context()))["y"]

        for _ in range(before):
            assert await one(GOOD) == 2
        asked = [one(GOOD if is_good else BAD) for is_good in requests]
        found = await asyncio.gather(*asked, return_exceptions=True)
        for is_good, result in zip(requests, found, strict=True):
            assert result == 2 if is_good else is_of(result, kind), result
        assert await one(GOOD) == 2

    use(graph(place, lane, away=away, args={"kind": kind}), work)


@given(place=st.sampled_from(["transformer", "combiner", "batched"]), lane=st.sampled_from(LANES),
       kind=kinds, before=st.integers(0, 5), away=st.booleans())  # fmt: skip
def test_a_stand_in_takes_its_place(
    place: str, lane: str, kind: str, before: int, away: bool
) -> None:
    async def work(executor: HeadExecutor) -> None:
        for value, result in [*[(GOOD, 2)] * before, (BAD, STAND_IN), (GOOD, 2)]:
            assert (await executor.run({"x": value}, Context()))["y"] == result

    policy = {
        "on_error": {"value": [STAND_IN]},
        "timeout": "20s",
        "outputs": {"output": ("INT64", [-1])},
    }
    use(graph(place, lane, away=away, args={"kind": kind}, **policy), work)


@given(kind=kinds, where=st.sampled_from(["first", "second", "end", "close"]), away=st.booleans())
def test_a_stream_ends_with_it(kind: str, where: str, away: bool) -> None:
    async def work(executor: HeadExecutor) -> None:
        values = []
        with pytest.raises(NodeError) as caught:
            async with aclosing(executor.stream({"x": GOOD}, Context())) as results:
                async for result in results:
                    values += result["y"].tolist()
        assert is_of(caught.value, kind)
        assert values == {"first": [], "second": [1]}.get(where, [1, 2])

    use(graph("predictor", "Streaming", away=away, args={"kind": kind, "where": where}), work)


@given(component=st.sampled_from(["OwnArray", "OwnArrayInThread"]), kind=kinds,
       place=st.sampled_from(["predictor", "batched"]), before=st.integers(0, 5))  # fmt: skip
def test_so_does_a_result_that_raises_once_it_is_read(
    component: str, kind: str, place: str, before: int
) -> None:
    async def work(executor: HeadExecutor) -> None:
        for _ in range(before):
            await executor.run({"x": GOOD}, Context())
        with pytest.raises(NodeError) as caught:
            await executor.run({"x": BAD}, Context())
        assert caught.value.node == "a"

    use(graph(place, component, args={"kind": kind}), work)


@given(
    kind=kinds,
    lane=st.sampled_from(LANES),
    in_thread=st.booleans(),
    where=st.sampled_from(["constructor", "load", "warmup", "check_health", "unload"]),
)
def test_a_hook_that_raises_names_the_node(
    kind: str, lane: str, in_thread: bool, where: str
) -> None:
    plan = graph("predictor", lane, args={"kind": kind, "where": where}).plan

    async def main() -> None:
        async with asyncio.timeout(30):
            bound = await load_nodes(plan, ["a"], ROOT, in_thread)
            await run_hook("check_health", bound.values(), ROOT)
            await run_hook("unload", bound.values(), ROOT)
            await unload_nodes(bound, ROOT)  # this one only logs it

    with pytest.raises(LoadError, match=ERRORS[kind].__name__) as caught:
        asyncio.run(main())
    assert caught.value.node == "a"


@given(kind=kinds)
def test_so_does_a_module_that_raises_while_it_is_imported(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    root = tmp_path_factory.mktemp("bundle")
    code = "from tests.graph.raisers import raise_it\nclass C:\n    pass\n"
    (root / "c.py").write_text(code + f"raise_it({kind!r})\n")
    built = Graph("g", root=root).input("x", "INT64", [-1])
    plan = built.transformer("a", component="c.py:C", inputs={"x": "x"}).output("y", "a").plan
    with pytest.raises(LoadError, match=ERRORS[kind].__name__) as caught:
        asyncio.run(load_nodes(plan, ["a"], root))
    assert caught.value.node == "a"


@given(kind=kinds, component=st.sampled_from(["Explains", "AsyncExplains"]))
def test_an_explainer_is_a_node_too(kind: str, component: str) -> None:
    def load(where: str) -> Coroutine[Any, Any, Explaining]:
        built = graph("predictor", "OnLoop", args={"kind": ""})
        args = {"kind": kind, "where": where}
        built.explainer("w", component=f"raisers.py:{component}", explains="a", args=args)
        return Explaining.load(built.plan, "w", ROOT, lambda name: pytest.fail(name))

    async def main() -> None:
        explaining = await load("call")
        try:
            with pytest.raises(NodeError, match=ERRORS[kind].__name__) as caught:
                await explaining.explain({"x": GOOD}, Context())
            assert caught.value.node == "w"
        finally:
            explaining.close()
        with pytest.raises(LoadError, match=ERRORS[kind].__name__):
            await load("attach")

    asyncio.run(asyncio.wait_for(main(), 30))


@given(then=st.sampled_from(["waits", "returns", *sorted(ERRORS)]), others=st.integers(0, 3))
def test_a_component_that_cancels_the_task_of_its_request_fails_that_request_only(
    then: str, others: int
) -> None:
    async def work(executor: HeadExecutor) -> None:
        async def one(value: np.ndarray[Any, Any]) -> Any:
            return (await executor.run({"x": value}, Context()))["y"]

        asked = [one(GOOD) for _ in range(others)]
        bad, *good = await asyncio.gather(one(BAD), *asked, return_exceptions=True)
        assert isinstance(bad, NodeError) and bad.node == "a"
        assert good == [1] * others

    use(graph("transformer", "CancelsItsTask", args={"then": then}), work)


@pytest.mark.parametrize("policy", [{}, {"timeout": "20s"}])
def test_a_cancellation_after_a_time_of_the_components_own_is_the_components(
    policy: dict[str, Any],
) -> None:
    async def work(executor: HeadExecutor) -> None:
        with pytest.raises(NodeError, match="CancelledError"):
            await executor.run({"x": GOOD}, Context())

    use(graph("transformer", "HoldsTime", **policy), work)


async def _waiting(executor: HeadExecutor) -> asyncio.Task[Any]:
    """A request that has come to its component, where it waits for ever."""
    begun = asyncio.Event()
    context = Context(parameters={"begun": begun})
    task = asyncio.ensure_future(executor.run({"x": GOOD}, context))
    await begun.wait()
    return task


def test_a_request_that_is_cancelled_is_cancelled() -> None:
    async def work(executor: HeadExecutor) -> None:
        task = await _waiting(executor)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    use(graph("transformer", "Waits"), work)


def test_the_time_of_a_node_is_no_error_of_its_component() -> None:
    async def work(executor: HeadExecutor) -> None:
        with pytest.raises(DeadlineExceeded):
            await (await _waiting(executor))

    use(graph("transformer", "Waits", timeout="50ms"), work)


@pytest.mark.filterwarnings("error")
def test_a_coroutine_that_nobody_will_go_on_with_is_closed() -> None:
    """As at the end of a loop: what comes in then is a GeneratorExit from outside."""
    built = graph("transformer", "Waits")
    closed: list[str] = []

    async def main() -> None:
        bound = await load_nodes(built.plan, ["a"], ROOT)
        parameters = {"begun": asyncio.Event(), "ended": closed}
        work = (
            HeadExecutor(built.plan, bound)
            ._evaluator._steps.lanes["a"]
            .call(lambda: bound["a"].call(x=GOOD, context=Context(parameters=parameters)))
        )
        work.send(None)
        work.close()

    asyncio.run(main())
    gc.collect()
    assert closed == ["GeneratorExit"]
