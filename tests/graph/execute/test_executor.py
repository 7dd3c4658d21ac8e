"""How the executor treats failure, time, threads and shared values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import DeadlineExceeded, InvalidRequest, NodeError
from anabranch.graph.calls import lanes
from anabranch.graph.calls.lanes import MAX_THREADS
from anabranch.graph.execute import steps
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes
from tests.graph.endless import running

ROOT = Path(__file__).parents[1]
ONE = {"x": np.array([1])}
Use = Callable[[HeadExecutor], Coroutine[Any, Any, Any]]


def graph(**first: Any) -> Graph:
    """x → a, where ``first`` says what a is."""
    built = Graph("g", root=ROOT).input("x", "INT64", [-1])
    options = {"inputs": {"x": "x"}, **first}
    options["component"] = f"parts.py:{options['component']}"
    return built.transformer("a", **options)


def use(built: Graph, work: Use, *, segmented: bool = False) -> Any:
    plan = built.plan
    bound = asyncio.run(load_nodes(plan, plan.nodes, ROOT))
    executor = loopback(plan, bound) if segmented else HeadExecutor(plan, bound)
    with running(executor) as run:
        return run(work(executor))


def once(built: Graph, *, times: int = 1, segmented: bool = False, **parameters: Any) -> Any:
    async def work(executor: HeadExecutor) -> Any:
        for _ in range(times):
            result = await executor.run(ONE, Context(parameters={"log": [], **parameters}))
        return result

    return use(built, work, segmented=segmented)


@pytest.mark.parametrize("segmented", [False, True])
def test_what_a_component_raises_names_the_node(segmented: bool) -> None:
    built = Graph("g", root=ROOT).input("x", "INT64", [1])
    built.combiner("boom", component="parts.py:Fail", args={"name": "boom"}, inputs={"x": "x"},
                   placement={"isolate": segmented})  # fmt: skip
    with pytest.raises(NodeError, match="node 'boom' failed: RuntimeError: no luck") as caught:
        once(built.output("y", "boom"), segmented=segmented)
    assert caught.value.node == "boom"


@pytest.mark.parametrize(
    ("component", "words"),
    [("Exit", "SystemExit: 3"), ("SelfCancel", "CancelledError")],
)
def test_a_component_cannot_take_the_process_or_the_request_down(
    component: str, words: str
) -> None:
    with pytest.raises(NodeError, match=words):
        once(graph(component=component).output("y", "a"))


def test_a_component_may_blame_the_caller() -> None:
    with pytest.raises(InvalidRequest, match="x must be kind"):
        once(graph(component="Blame").output("y", "a"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "it returned None"),
        ({}, "it returned an empty dict"),
        ({"one": np.ones(1), "two": np.ones(1)}, "it returned several outputs"),
        (object(), "it returned no array"),
    ],
)
def test_values_that_are_no_outputs(value: Any, words: str) -> None:
    with pytest.raises(NodeError, match=words):
        once(graph(component="Return").output("y", "a"), value=value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones((1, 3), np.float32), r"output 'output': shape \[1, 3\], expected \[-1, 2\]"),
        (np.ones((1, 2)), "output 'output': datatype FP64, expected FP32"),
        ({"other": np.ones((1, 2))}, "expected only 'output'"),
    ],
)
def test_declared_outputs_are_checked_on_every_call(value: Any, words: str) -> None:
    built = graph(component="Return", outputs={"output": ("FP32", [-1, 2])}).output("y", "a")
    with pytest.raises(NodeError, match=words):
        once(built, value=value)


def test_several_declared_outputs_must_all_be_there() -> None:
    outputs = {"one": ("FP32", [-1]), "two": ("FP32", [-1])}
    built = graph(component="Return", outputs=outputs).output("y", "a.one").output("z", "a.two")
    with pytest.raises(NodeError, match="expected the outputs one, two"):
        once(built, value={"one": np.ones(1, np.float32)})
    both = {"one": np.ones(1, np.float32), "two": np.zeros(1, np.float32)}
    assert once(built, value=both)["z"] == [0]


def test_an_undeclared_output_that_is_missing() -> None:
    built = graph(component="Return").output("y", "a.wanted")
    with pytest.raises(NodeError, match=r"it returned no output 'wanted'; it returned: .*given"):
        once(built, value={"given": np.ones(1)})


def test_lists_and_numbers_become_arrays() -> None:
    assert once(graph(component="Return").output("y", "a"), value=[1, 2])["y"].tolist() == [1, 2]


def test_an_unknown_requested_output_lists_those_there_are() -> None:
    async def work(executor: HeadExecutor) -> Any:
        return await executor.run(ONE, Context(), ["z"])

    with pytest.raises(InvalidRequest, match=r"graph 'g' has no output 'z' .*available: y"):
        use(graph(component="InPlace").output("y", "a"), work)


def flaky(failures: int, retries: int, **options: Any) -> Graph:
    built = Graph("g", root=ROOT).input("x", "INT64", [1])
    args = {"name": "flaky", "failures": failures}
    built.combiner("flaky", component="parts.py:Flaky", args=args, inputs={"x": "x"},
                   idempotent=True, retries=retries, **options)  # fmt: skip
    return built.output("y", "flaky")


@pytest.mark.parametrize("segmented", [False, True])
def test_retries_are_further_attempts(segmented: bool) -> None:
    place = {"placement": {"isolate": True}} if segmented else {}
    assert once(flaky(2, 2, **place), segmented=segmented)["y"] == [1]
    with pytest.raises(NodeError, match="not yet"):
        once(flaky(2, 1, **place), segmented=segmented)


def test_the_callers_fault_is_not_tried_again() -> None:
    with pytest.raises(InvalidRequest):
        more = {"idempotent": True, "retries": 3, "on_error": {"use": "x"}}
        once(graph(component="Blame", **more).output("y", "a"))


@pytest.mark.parametrize("segmented", [False, True])
def test_a_nodes_timeout_names_the_node_and_the_limit(segmented: bool) -> None:
    place = {"placement": {"isolate": True}} if segmented else {}
    built = graph(component="Hang", timeout="20ms", **place).output("y", "a")
    with pytest.raises(
        DeadlineExceeded, match="node 'a' gave no answer within its timeout of 20ms"
    ):
        once(built, segmented=segmented)


def test_a_stand_in_takes_over_when_time_is_up() -> None:
    built = graph(component="Hang", timeout="20ms", on_error={"use": "x"}).output("y", "a")
    assert once(built)["y"] == [1]


def test_one_failure_ends_the_request_without_waiting_for_the_rest() -> None:
    built = graph(component="Hang").transformer("b", component="parts.py:Exit", inputs={"x": "x"})
    built.combiner("both", strategy="mean", inputs=["a", "b"]).output("y", "both")
    with pytest.raises(NodeError, match="'b'"):
        once(built)


class Held:
    """Says that it was called, and never answers."""

    async def transform(self, x: np.ndarray, context: Context) -> np.ndarray:
        context.parameters["called"].set()
        await asyncio.Event().wait()
        return x


def test_a_cancelled_request_cancels_its_tasks() -> None:
    async def work(executor: HeadExecutor) -> None:
        called = asyncio.Event()
        task = asyncio.create_task(executor.run(ONE, Context(parameters={"called": called})))
        await called.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    built = Graph("g").input("x", "INT64", [-1])
    use(built.transformer("a", component=Held, inputs={"x": "x"}).output("y", "a"), work)


def test_changing_an_input_in_place_is_an_error_where_others_read_it() -> None:
    built = graph(component="InPlace").output("y", "a").output("x", "x")
    with pytest.raises(NodeError, match="read-only"):
        once(built)


def test_a_slow_component_leaves_the_loop_free() -> None:
    async def work(executor: HeadExecutor) -> int:
        turns = 0
        request = asyncio.create_task(executor.run(ONE, Context()))
        while not request.done():
            turns += 1
            await asyncio.sleep(0)
        await request
        return turns

    built = graph(component="Sleep", args={"seconds": 0.2}).output("y", "a")
    assert use(built, work) > 100


def instance(executor: HeadExecutor, bound: dict[str, Any]) -> Any:
    return bound["a"].instance


@pytest.mark.parametrize(("component", "most"), [("Sleep", 1), ("SleepTogether", 4)])
def test_a_component_runs_in_as_many_threads_as_it_says(component: str, most: int) -> None:
    built = graph(component=component, args={"seconds": 0.01}).output("y", "a")

    async def main() -> int:
        plan = built.plan
        bound = await load_nodes(plan, plan.nodes, ROOT)
        executor = HeadExecutor(plan, bound)
        await asyncio.gather(*(executor.run(ONE, Context()) for _ in range(12)))
        executor.close()
        found: int = bound["a"].instance.most
        return found

    assert asyncio.run(main()) == most


def test_a_call_that_was_given_up_still_holds_its_place() -> None:
    """A component that is not thread-safe must not meet its own abandoned call."""
    built = graph(component="Sleep", args={"seconds": 0.1}, timeout="10ms").output("y", "a")

    async def main() -> int:
        plan = built.plan
        bound = await load_nodes(plan, plan.nodes, ROOT)
        executor = HeadExecutor(plan, bound)
        for _ in range(3):
            with pytest.raises(DeadlineExceeded):
                await executor.run(ONE, Context())
        executor.close()
        found: int = bound["a"].instance.most
        return found

    assert asyncio.run(main()) == 1


def test_a_fast_component_moves_to_the_loop_even_under_unbroken_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for measuring in (lanes, steps):  # no call takes long, however busy the machine is
        monkeypatch.setattr(measuring, "clock", lambda: 0.0)
    built = Graph("g", root=ROOT).input("x", "INT64", [1]).output("y", "one")
    built.combiner("one", component="parts.py:Sum", args={"name": "one"}, inputs={"x": "x"})

    async def work(executor: HeadExecutor) -> int:
        async def client() -> int:
            found = 0
            for _ in range(20):
                context = Context(parameters={"log": []})
                found += int((await executor.run(ONE, context))["y"][0])
            return found

        return sum(await asyncio.gather(*(client() for _ in range(32))))

    async def main() -> tuple[int, int]:
        plan = built.plan
        executor = HeadExecutor(plan, await load_nodes(plan, plan.nodes, ROOT))
        total = await work(executor)
        executor.close()
        return total, executor.off_loop

    assert asyncio.run(main()) == (640, 0)


def test_many_slow_components_share_a_bounded_number_of_threads() -> None:
    built = Graph("g", root=ROOT).input("x", "INT64", [-1])
    for index in range(2 * MAX_THREADS):
        args = {"seconds": 0.005}
        built.transformer(f"n{index}", component="parts.py:Sleep", args=args, inputs={"x": "x"})
        built.output(f"n{index}", f"n{index}")
    assert len(once(built)) == 2 * MAX_THREADS


def test_remote_calls_start_before_work_that_holds_the_loop() -> None:
    order: list[str] = []

    async def call(values: Any, wants: tuple[str, ...], context: Context) -> Any:
        order.append(f"call {wants[0]}")
        await asyncio.sleep(0)
        return {wants[0]: values["x"]}

    built = Graph("g", root=ROOT).input("x", "INT64", [1])
    built.combiner("here", component="parts.py:Sum", args={"name": "here"}, inputs={"x": "x"})
    for name in ("r1", "r2"):
        built.transformer(name, component="parts.py:InPlace", inputs={"x": "x"},
                          placement={"isolate": True})  # fmt: skip
    built.output("y", "here").output("r1", "r1").output("r2", "r2")

    async def main() -> None:
        plan = built.plan
        bound = await load_nodes(plan, ["here"], ROOT)
        executor = HeadExecutor(plan, bound, {"r1": call, "r2": call})
        for _ in range(5):
            order.clear()
            await executor.run(ONE, Context(parameters={"log": order}))
        executor.close()

    asyncio.run(main())
    assert order == ["call r1", "call r2", "here"]


def test_time_is_not_spent_on_branches_that_were_not_picked() -> None:
    built = graph(component="Hang").router(
        "pick", strategy="rules", otherwise="b",
        rules=[{"when": "'hang' in request.headers", "to": "a"}],
    )  # fmt: skip
    built.transformer("b", component="parts.py:Return", inputs={"x": "x"}).output("y", "pick")
    # The other branch would never end.
    assert once(built, value=np.array([7]))["y"] == [7]


@pytest.mark.parametrize("sticky", [{"header": "x-user"}, {"parameter": "user"}, {"input": "user"}])
@pytest.mark.parametrize("segmented", [False, True])
def test_a_sticky_router_sends_a_caller_along_one_route_wherever_the_routes_run(
    sticky: dict[str, str], segmented: bool
) -> None:
    def built() -> Graph:
        made = Graph("g", root=ROOT).input("user", "INT64", [1])
        for name in ("a", "b"):
            made.transformer(name, component="parts.py:Return", inputs={"x": "user"},
                             placement={"isolate": segmented})  # fmt: skip
        made.router("pick", strategy="weighted", routes={"a": 1.0, "b": 1.0}, sticky=sticky,
                    inputs={"user": "user"})  # fmt: skip
        return made.output("y", "pick")

    async def routes(executor: HeadExecutor) -> list[str]:
        found = []
        for user in [*range(20), *range(20)]:
            context = Context(
                headers={"x-user": str(user)},
                parameters={"user": user, "log": [], "value": ONE["x"]},
            )
            await executor.run({"user": np.array([user])}, context)
            found.append(context.path["pick"])
        return found

    one, two = use(built(), routes, segmented=segmented), use(built(), routes)
    assert one == two
    assert one[:20] == one[20:]
    assert set(one) == {"a", "b"}


def test_a_key_of_several_callers_is_the_callers_mistake() -> None:
    built = Graph("g", root=ROOT).input("x", "INT64", [-1])
    built.transformer("a", component="parts.py:Return", inputs={"x": "x"})
    built.router(
        "pick", strategy="weighted", routes=["a"], sticky={"input": "x"}, inputs={"x": "x"}
    )
    built.output("y", "pick")

    async def work(executor: HeadExecutor) -> None:
        await executor.run({"x": np.array([1, 2])}, Context())

    with pytest.raises(InvalidRequest, match="several sticky keys"):
        use(built, work)
