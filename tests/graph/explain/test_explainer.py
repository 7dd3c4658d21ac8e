"""Explanations in this process: the model as explainers ask it, the queue, time, what is kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import DeadlineExceeded, InvalidRequest, LoadError, NodeError, Unavailable
from anabranch.graph.calls.stepping import begin
from anabranch.graph.execute.executor import SegmentCall, SegmentExecutor
from anabranch.graph.execute.loopback import LoopbackCall
from anabranch.graph.execute.nodes import load_nodes
from anabranch.graph.explain import model
from anabranch.graph.explain.answers import Answers, ExplainerReply, key_of
from anabranch.graph.explain.explainer import Explaining
from anabranch.graph.explain.model import PartSizes
from anabranch.graph.plan.plan import Plan
from tests.graph import explainers
from tests.graph.compile.test_explainers import REMOTE, node, plan_of, why

X = np.float32([[1, 2], [3, 4]])


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    explainers.STARTED.clear()
    explainers.RELEASE.clear()
    yield
    explainers.RELEASE.set()


class Away:
    """Segments of a plan, called as if they were in other processes; notes the calls."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.contexts: list[Context] = []
        self.sizes: list[int] = []
        self.ongoing = self.most = 0

    async def load(self, names: tuple[str, ...]) -> None:
        root = Path.cwd()
        self.calls = {
            name: LoopbackCall(
                SegmentExecutor(
                    self.plan, self.plan.segment(name), await load_nodes(self.plan, [name], root)
                )
            )
            for name in names
        }

    def __call__(self, name: str) -> SegmentCall:
        async def call(
            values: Mapping[str, Any], wants: tuple[str, ...], context: Context
        ) -> Mapping[str, Any]:
            self.contexts.append(context)
            self.sizes.append(len(next(iter(values.values()))))
            self.ongoing += 1
            self.most = max(self.most, self.ongoing)
            await asyncio.sleep(0)
            try:
                return await self.calls[name](values, wants, context)
            finally:
                self.ongoing -= 1

        return call


def no_call(name: str) -> SegmentCall:
    raise AssertionError(name)


async def loaded(plan: Plan, calls: Any = no_call, name: str = "w") -> Explaining:
    return await Explaining.load(plan, name, Path.cwd(), calls)


def explained(plan: Plan, x: Any = X, **context: Any) -> Any:
    """What the explainer w says of a request, as JSON-able data."""

    async def main() -> Any:
        explaining = await loaded(plan)
        found = await explaining.explain({"x": x.copy()}, Context(**context))
        explaining.close()
        return json.loads(found.explanations)

    return asyncio.run(main())


@pytest.mark.parametrize("component", ["Why", "AsyncWhy"])
def test_a_node_is_explained_by_what_it_receives(component: str) -> None:
    (one,) = explained(plan_of(w=why(component, explains="b")))
    assert one["method"] == f"tests.graph.explainers:{component}" and one["seed"] == 0
    assert one["library"]["got"] == {"x": (X * 2).tolist()}
    assert one["library"]["made"] == {"output": (X * 4).tolist()}


def test_the_whole_graph_is_explained_by_its_inputs() -> None:
    (one,) = explained(plan_of(w=why()))
    assert one["library"]["got"] == {"x": X.tolist()}
    assert one["library"]["made"] == {"y": (X * 4).tolist()}


def test_own_inputs_are_what_an_explainer_receives() -> None:
    (one,) = explained(plan_of(w=why(explains="b", inputs={"x": "x"})))
    assert one["library"]["got"] == {"x": X.tolist()}
    assert one["library"]["made"] == {"output": (X * 2).tolist()}


def test_outputs_of_one_node_are_varied_by_themselves() -> None:
    nodes = {
        "p": node("Pair"),
        "c": {
            "type": "transformer", "component": "tests.graph.explainers:Add",
            "inputs": {"a": "p.plus", "b": "p.minus"},
        },
        "w": why(explains="c"),
    }  # fmt: skip
    (one,) = explained(plan_of(**nodes))
    assert one["library"]["got"] == {"a": X.tolist(), "b": (-X).tolist()}
    assert one["library"]["made"] == {"output": (X * 0).tolist()}


def test_explanations_of_the_common_shape_are_told_by_row() -> None:
    found = explained(plan_of(w=why("Rows", explains="b")), parameters={"seed": 5})
    assert found == [
        {"method": "rows", "seed": 5, "attributions": row, "feature_names": ["a", "b"]}
        for row in (X * 2).tolist()
    ]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ({"w": why("Raises", explains="b")}, "RuntimeError: no idea"),
        ({"w": why("Odd", explains="b")}, "it returned what JSON cannot carry"),
    ],
)
def test_what_goes_wrong_names_the_explainer(nodes: dict[str, Any], said: str) -> None:
    with pytest.raises(NodeError, match=f"'w'.*{said}"):
        explained(plan_of(**nodes))


def test_a_model_that_fails_is_named() -> None:
    plan = plan_of(f=node("Fail"), w=why("Late", explains="f"))
    with pytest.raises(NodeError, match=r"'f'.*no luck"):
        explained(plan)


def test_an_explainer_that_cannot_start_is_named_with_the_reason() -> None:
    plan = plan_of(f=node("Fail"), w=why(explains="f"))
    with pytest.raises(LoadError, match=r"'w'.*no luck"):
        explained(plan)


def test_an_explainer_that_takes_no_model_is_named_with_the_reason() -> None:
    with pytest.raises(LoadError, match=r"'w'.*attach\(\) raised ValueError: not this one"):
        explained(plan_of(w=why("Picky", explains="b")))


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_deployment_is_asked_in_parts_and_several_at_once(
    replicas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "MOST_ROWS", 4)
    plan = plan_of(b=node("Times", "a", scaling={"replicas": replicas}), w=why(explains="b"))
    x = np.arange(22, dtype=np.float32).reshape(11, 2)

    async def main() -> Away:
        away = Away(plan)
        await away.load(("b",))
        explaining = await loaded(plan, away)
        away.sizes.clear()
        found = await explaining.explain({"x": x.copy()}, Context(parameters={"a": 1}))
        (one,) = json.loads(found.explanations)
        assert one["library"]["made"]["output"] == (x * 4).tolist()
        assert (found.model_calls, found.model_rows) == (2, 22)
        explaining.close()
        return away

    away = asyncio.run(main())
    assert sum(away.sizes) == 22 and max(away.sizes) <= 4
    assert away.most == min(replicas, 3)
    assert away.contexts[-1].parameters == {"a": 1}


def test_where_the_node_batches_a_part_is_a_batch_of_the_lowest_priority() -> None:
    batched = node("Times", "a", batching={"max_size": 3}, **REMOTE)
    plan = plan_of(b=batched, w=why(explains="b"))

    async def main() -> Away:
        away = Away(plan)
        await away.load(("b",))
        explaining = await loaded(plan, away)
        away.sizes.clear()
        await explaining.explain({"x": np.ones((7, 2), np.float32)}, Context())
        explaining.close()
        return away

    away = asyncio.run(main())
    assert away.sizes == [3, 3, 1, 3, 3, 1]
    assert away.contexts[-1].parameters == {"priority": 9}


@given(st.lists(st.floats(1e-5, 1.0), max_size=30))
def test_parts_stay_within_bounds(seconds: list[float]) -> None:
    parts = PartSizes(1024, 0.004)
    for one in seconds:
        before = parts.rows
        parts.took(before, one)
        assert 1 <= parts.rows <= 1024
        assert parts.rows <= 2 * before
        assert (parts.rows >= before) or one > 0.004


@given(
    cold=st.floats(0, 10),
    call=st.floats(0, 0.1),
    row=st.floats(1e-7, 0.1),
    noise=st.lists(st.floats(0.9, 1.1), max_size=9),
)
def test_parts_are_as_large_as_their_rows_allow_whatever_a_call_takes(
    cold: float, call: float, row: float, noise: list[float]
) -> None:
    parts = PartSizes(1024, 0.004)
    parts.took(1, cold)
    for _ in range(400):
        parts.took(parts.rows, call + row * parts.rows)
    sizes = []
    for turn in range(200):
        sizes.append(parts.rows)
        parts.took(parts.rows, call + row * parts.rows * (noise[turn % len(noise)] if noise else 1))
    # Beside a part of one row, theirs take up to 4 ms, but for one in a while: that may change.
    assert sum((size - 1) * row > 0.006 for size in sizes) <= len(sizes) // 10
    wanted = min(0.004 / row / 4, 1024)
    assert sum(size < wanted / 2 for size in sizes) <= len(sizes) // 10


def slow(queue: int, **fields: Any) -> Plan:
    return plan_of(w=why("Sometimes", explains="b", scaling={"max_queue": queue}, **fields))


def ask(explaining: Explaining, x: Any, **context: Any) -> Coroutine[Any, Any, ExplainerReply]:
    return explaining.explain({"x": np.float32([[x, x]])}, Context(**context))


def test_a_full_queue_refuses_at_once() -> None:
    async def main() -> None:
        explaining = await loaded(slow(2))
        tasks = [asyncio.create_task(ask(explaining, -n)) for n in (1, 2, 3)]
        await asyncio.to_thread(explainers.STARTED.wait, 60)
        with pytest.raises(Unavailable, match="'w' has its queue full: 1 in progress and 2 that"):
            await ask(explaining, -4)
        explainers.RELEASE.set()
        assert len(await asyncio.gather(*tasks)) == 3
        await ask(explaining, -5)
        explaining.close()

    asyncio.run(main())


@pytest.mark.parametrize("queue", [0, 1, 2, 5])
def test_samples_of_the_traffic_leave_half_of_the_queue_to_who_waits(queue: int) -> None:
    async def main() -> None:
        explaining = await loaded(slow(queue))

        def sample(n: int) -> Coroutine[Any, Any, ExplainerReply]:
            return explaining.explain({"x": np.float32([[-n, -n]])}, Context(), sampled=True)

        numbers = iter(range(1, 100))
        tasks = [asyncio.create_task(sample(next(numbers))) for _ in range(1 + queue // 2)]
        await asyncio.to_thread(explainers.STARTED.wait, 60)
        with pytest.raises(Unavailable, match="'w' has its queue full"):
            await sample(next(numbers))
        rest = queue - queue // 2
        tasks += [asyncio.create_task(ask(explaining, -next(numbers))) for _ in range(rest)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match=f"1 in progress and {queue} that wait"):
            await ask(explaining, -next(numbers))
        explainers.RELEASE.set()
        assert len(await asyncio.gather(*tasks)) == 1 + queue
        explaining.close()

    asyncio.run(main())


def test_an_explanation_that_is_given_up_is_interrupted_and_its_place_free() -> None:
    async def main() -> None:
        explaining = await loaded(slow(0, timeout="200ms"))
        with pytest.raises(DeadlineExceeded, match=r"'w' did not answer within 0\.2s"):
            await ask(explaining, -1)
        async with asyncio.timeout(60):
            while True:
                try:
                    found = await ask(explaining, 1)
                    break
                except (Unavailable, DeadlineExceeded):  # the latter on a busy machine
                    await asyncio.sleep(0.01)
        assert json.loads(found.explanations)[0]["library"] == "done"
        explaining.close()

    asyncio.run(main())


def test_an_explanation_that_is_cancelled_asks_the_model_no_more() -> None:
    plan = plan_of(b=node("Times", "a", **REMOTE), w=why("Late", explains="b"))
    ended = asyncio.Event()

    def calls(name: str) -> SegmentCall:
        async def call(*asked: Any) -> Mapping[str, Any]:
            explainers.STARTED.set()
            try:
                return await asyncio.Event().wait()  # type: ignore[return-value]
            finally:
                ended.set()

        return call

    async def main() -> None:
        explaining = await loaded(plan, calls)
        task = asyncio.create_task(ask(explaining, 1))
        await asyncio.to_thread(explainers.STARTED.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(60):
            await ended.wait()
        explaining.close()

    asyncio.run(main())


def test_an_explanation_may_begin_outside_of_tasks() -> None:
    """As all calls from other processes do."""

    async def main() -> None:
        explaining = await loaded(slow(0))
        loop = asyncio.get_running_loop()
        found: asyncio.Future[ExplainerReply] = loop.create_future()

        async def begun() -> None:
            found.set_result(await ask(explaining, 1))

        loop.call_soon(begin, begun(), loop)
        assert json.loads((await asyncio.wait_for(found, 60)).explanations)
        explaining.close()

    asyncio.run(main())


def test_a_request_with_less_time_ends_earlier() -> None:
    async def main() -> None:
        explaining = await loaded(slow(0))
        with pytest.raises(DeadlineExceeded):
            await ask(explaining, -1, deadline=time.monotonic() + 0.05)
        explaining.close()

    asyncio.run(main())


def test_the_same_again_comes_from_the_cache() -> None:
    async def main() -> None:
        explaining = await loaded(plan_of(w=why(explains="b")))
        first = await ask(explaining, 1)
        again = await ask(explaining, 1, parameters={"timeout": 5, "explainer": "w"})
        other = await ask(explaining, 1, parameters={"target": 1})
        assert (first.cached, again.cached, other.cached) == (False, True, False)
        assert again.explanations == first.explanations
        assert (again.model_calls, again.model_rows) == (0, 0)
        explaining.close()

    asyncio.run(main())


def test_what_reads_the_request_is_kept_by_the_whole_request() -> None:
    async def main() -> None:
        explaining = await loaded(plan_of(w=why("Rows", explains="b")))
        await ask(explaining, 1, parameters={"a": 1})
        assert (await ask(explaining, 1, parameters={"a": 1})).cached
        assert not (await ask(explaining, 1, parameters={"a": 2})).cached
        assert not (await ask(explaining, 1, headers={"b": "c"})).cached
        explaining.close()

    asyncio.run(main())


arrays = st.sampled_from(
    [
        np.float32([[1, 2]]), np.float32([[1], [2]]), np.float64([[1, 2]]), np.float32([[1, 3]]),
        np.array(["a", "bc"], object), np.array(["ab", "c"], object),
        np.array([b"a", "bc"], object),
        np.array(1.0), np.zeros((0, 2)),
    ]
)  # fmt: skip


@given(arrays, arrays)
def test_keys_are_equal_for_equal_requests_alone(one: Any, other: Any) -> None:
    same = one.dtype == other.dtype and one.shape == other.shape and one.tolist() == other.tolist()
    keys = [key_of({"x": each}, Context(), False) for each in (one, other)]
    assert (keys[0] == keys[1]) is same


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=60))
def test_what_is_kept_is_bounded_and_the_latest(puts: list[tuple[int, int]]) -> None:
    answers = Answers(entries=4, size=100)
    kept: dict[bytes, ExplainerReply] = {}
    for key, size in puts:
        found = ExplainerReply("m", b" " * size, 0.0)
        name = bytes([key])
        answers.put(name, found)
        kept.pop(name, None)
        kept[name] = found
        while len(kept) > 4 or sum(len(one.explanations) for one in kept.values()) > 100:
            del kept[next(iter(kept))]
        assert len(answers) == len(kept)
        assert all(answers._answers[one] is kept[one] for one in kept)


def graph() -> Graph:
    return (
        Graph("local")
        .input("x", "FP32", [-1, 2])
        .transformer("a", component=explainers.Times, inputs={"x": "x"}, scaling={"replicas": 2})
        .explainer("w", component=explainers.Why, explains="a")
        .explainer("rows", component=explainers.Rows, explains="a")
        .output("y", "a")
    )


def test_a_graph_explains_in_a_notebook() -> None:
    with graph() as one:
        answer = one.explain({"x": X}, "w")
        assert answer["explainer"] == "w"
        assert answer["explanations"][0]["library"]["made"] == {"output": (X * 2).tolist()}
        assert not answer["timing"]["cached"]
        assert one.explain({"x": X}, "w")["timing"]["cached"]
        rows = one.explain({"x": X}, "rows", seed=3)["explanations"]
        assert [found["seed"] for found in rows] == [3, 3]
        with pytest.raises(InvalidRequest, match="several explainers"):
            one.explain({"x": X})
        with pytest.raises(InvalidRequest, match="no explainer 'v'"):
            one.explain({"x": X}, "v")
