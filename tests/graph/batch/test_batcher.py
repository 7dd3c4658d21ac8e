"""The batcher under load: what components see, and what each request gets."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import (
    DeadlineExceeded,
    InvalidRequest,
    LoadError,
    NodeError,
    SpecError,
    Unavailable,
)
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes
from tests.examples import examples

Array = np.ndarray[Any, Any]
MODEL_S = 0.01
BAD = -1.0


class Model:
    """Negates its input in some milliseconds; holds on while ``gate`` is closed."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls: list[list[float]] = []
        self.inside = self.most = 0
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, x: Array) -> Array:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            self.calls.append(x.reshape(len(x), -1)[:, 0].tolist() if len(x) else [])
            time.sleep(self.seconds)
            assert self.gate.wait(30)
            return self.answer(x)
        finally:
            self.inside -= 1

    def answer(self, x: Array) -> Array:
        if (x == BAD).any():
            raise ValueError("a bad row")
        return -x

    @property
    def sizes(self) -> list[int]:
        """The rows of each call."""
        return [len(call) for call in self.calls]


class Async(Model):
    """The same, as a coroutine; notes when it is cancelled."""

    cancelled = 0

    async def predict(self, x: Array) -> Array:  # type: ignore[override]
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.calls.append(x[:, 0].tolist())
        try:
            while not self.gate.is_set():  # noqa: ASYNC110 - it is opened in any thread
                await asyncio.sleep(0.001)
            await asyncio.sleep(self.seconds)
            return self.answer(x)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1


class Parallel(Model):
    max_concurrency = 2


class Broken(Model):
    def answer(self, x: Array) -> Array:
        raise RuntimeError("broken")


class Small(Model):
    """Has memory for four rows."""

    def answer(self, x: Array) -> Array:
        if len(x) > 4:
            raise MemoryError
        return super().answer(x)


class Gone(Model):
    def answer(self, x: Array) -> Array:
        raise Unavailable("the other side is gone", 7)


class Mean(Model):
    def answer(self, x: Array) -> Array:
        return np.asarray(x.mean(axis=0))


class Blame(Model):
    def answer(self, x: Array) -> Array:
        if (x == BAD).any():
            raise InvalidRequest("rows must be kind")
        return -x


class Texts(Model):
    def predict(self, x: Array) -> Array:
        self.calls.append(x.tolist())
        time.sleep(self.seconds)
        return np.array([str(each).upper() for each in x], object)


class Two(Model):
    """Two outputs."""

    def predict(self, x: Array) -> dict[str, Array]:  # type: ignore[override]
        self.calls.append(x[:, 0].tolist())
        time.sleep(self.seconds)
        return {"plus": x, "minus": -x}


class Spin(Model):
    """Takes some time by the clock that ``tick`` turns on, and notes in which thread."""

    now = 0.0

    def predict(self, x: Array) -> Array:
        Spin.now += self.seconds
        self.calls.append(x[:, 0].tolist())
        self.thread = threading.get_ident()
        return -x


@pytest.fixture
def tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that calls take is what ``Spin`` says, however busy the machine is."""
    monkeypatch.setattr("anabranch.graph.calls.lanes.clock", lambda: Spin.now)


class Curious:
    def predict(self, x: Array, context: Context) -> Array:
        return x


class Work:
    """A graph of one batched node, and requests to it."""

    def __init__(self, executor: HeadExecutor, model: Any) -> None:
        self.executor, self.model = executor, model

    async def ask(self, *values: float, context: Context | None = None, **inputs: Array) -> Any:
        """The answer to a request with a row for each value."""
        found = inputs or {"x": np.array([[value, value] for value in values], np.float32)}
        return (await self.executor.run(found, context or Context()))["y"]

    def start(self, *values: float, context: Context | None = None) -> asyncio.Task[Any]:
        return asyncio.create_task(self.ask(*values, context=context))

    async def busy(self) -> asyncio.Task[Any]:
        """A request, value 0, that is in the component and stays there until ``go``."""
        self.model.gate.clear()
        first = self.start(0)
        await self.until(lambda: self.model.inside == 1)
        return first

    def go(self) -> None:
        self.model.gate.set()

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():  # noqa: ASYNC110 - in a thread, often
            await asyncio.sleep(0.001)

    async def settle(self) -> None:
        """Let all that was started come to the queue."""
        for _ in range(20):
            await asyncio.sleep(0)


def use(
    component: type,
    work: Callable[[Work], Coroutine[Any, Any, Any]],
    *,
    seconds: float = 0.001,
    away: bool = False,
    input_type: tuple[str, Sequence[int]] = ("FP32", [-1, 2]),
    output: str = "a",
    fields: dict[str, Any] | None = None,
    **batching: Any,
) -> Any:
    """Run ``work`` on a graph; the batch size is 64 unless ``batching`` says otherwise."""
    options = {**(fields or {}), **({"placement": {"isolate": True}} if away else {})}
    args = {"seconds": seconds} if issubclass(component, Model) else {}
    graph = Graph("g").input("x", *input_type).predictor(
        "a", component=component, args=args, inputs={"x": "x"},
        batching={"max_size": 64, **batching}, **options,
    ).output("y", output)  # fmt: skip

    async def main() -> Any:
        plan = graph.plan
        bound = await load_nodes(plan, plan.nodes, Path())
        executor = loopback(plan, bound) if away else HeadExecutor(plan, bound)
        try:
            async with asyncio.timeout(120):
                return await work(Work(executor, bound["a"].instance))
        finally:
            bound["a"].instance.gate.set()
            executor.close()

    return asyncio.run(main())


def numbers(answers: Sequence[Any]) -> list[list[float]]:
    return [(-answer[:, 0]).tolist() for answer in answers]


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("component", [Model, Async])
def test_while_the_component_is_busy_requests_gather(component: type, away: bool) -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        others = [w.start(*range(n, n + n % 3 + 1)) for n in range(1, 21)]
        await w.settle()
        w.go()
        assert numbers(await asyncio.gather(first, *others)) == [
            [0], *([*range(n, n + n % 3 + 1)] for n in range(1, 21))
        ]  # fmt: skip
        assert len(w.model.calls) == 2 and w.model.sizes[1] == 41
        assert w.model.most == 1

    use(component, work, away=away)


def test_one_request_on_a_free_component_goes_alone_and_at_once() -> None:
    async def work(w: Work) -> None:
        for number in range(5):
            assert numbers([await w.ask(number)]) == [[number]]
        assert w.model.sizes == [1] * 5

    use(Model, work, seconds=0.001)


def test_no_batch_is_larger_than_it_may_be() -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        others = [w.start(*[n] * (n % 4 + 1)) for n in range(1, 60)]
        large = w.start(*range(100, 120))
        await w.settle()
        w.go()
        answers = await asyncio.gather(first, *others, large)
        assert numbers(answers[-1:]) == [[*range(100, 120)]]
        assert all(size <= 8 or size == 20 for size in w.model.sizes)
        assert [*range(100, 120)] in w.model.calls
        # In the order in which they came.
        flat = [value for call in w.model.calls for value in call]
        assert flat == sorted(flat)

    use(Model, work, max_size=8, max_queue=1000)


def test_requests_that_differ_are_not_mixed() -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        shapes = [(1, 2), (2, 3), (1, 2), (1, 3), (0, 2), (3, 2)]
        asked = [
            asyncio.create_task(w.ask(x=np.full(shape, n + 1, np.float32)))
            for n, shape in enumerate(shapes)
        ]
        await w.settle()
        w.go()
        answers = await asyncio.gather(*asked)
        assert [answer.shape for answer in answers] == shapes
        assert w.model.calls == [[0], [1, 3, 6, 6, 6], [2, 2, 4], []]
        await first

    use(Model, work, input_type=("FP32", [-1, -1]))


def test_texts_are_gathered_too() -> None:
    async def work(w: Work) -> None:
        words = [["a"], ["b", "long one"], ["ü"]]
        answers = await asyncio.gather(
            *(w.ask(x=np.array(each, object)) for each in words),
        )
        assert [answer.tolist() for answer in answers] == [["A"], ["B", "LONG ONE"], ["Ü"]]
        assert len(w.model.calls) == 1

    use(Texts, work, seconds=MODEL_S, input_type=("BYTES", [-1]))


def test_every_output_is_split() -> None:
    async def work(w: Work) -> None:
        answers = await asyncio.gather(*(w.ask(*[n] * n) for n in range(1, 9)))
        assert numbers(answers) == [[n] * n for n in range(1, 9)]
        assert w.model.sizes == [36]

    use(Two, work, seconds=MODEL_S, output="a.minus")


@pytest.mark.parametrize("component", [Model, Async, Blame])
@pytest.mark.parametrize("poison", [[0], [31], [63], [5, 6], [0, 1, 2, 3], [*range(0, 64, 9)]])
def test_only_the_guilty_requests_fail(component: type, poison: list[int]) -> None:
    """One among 63, or several, wherever they stand; also many in a row that fail alike."""

    async def work(w: Work) -> None:
        first = await w.busy()
        asked = [w.start(BAD if n in poison else n + 1) for n in range(64)]
        await w.settle()
        w.go()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for n, answer in enumerate(answers):
            if n in poison:
                assert isinstance(answer, InvalidRequest if component is Blame else NodeError)
                failed = "node 'a' failed: ValueError: a bad row ("
                assert "kind" in str(answer) or str(answer).startswith(failed)
            else:
                assert numbers([answer]) == [[n + 1]]
        bound = 1 + 2 * 6 * len(poison)
        assert len(w.model.calls) - 1 <= bound
        # And nothing is remembered: the next batch is as large as ever.
        w.model.calls.clear()
        assert numbers(await asyncio.gather(first, *(w.ask(n) for n in range(64))))
        assert w.model.sizes == [64]

    use(component, work)


@settings(max_examples=examples(25))
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_whoever_is_guilty_nobody_else_fails(good: list[bool]) -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        asked = [w.start(n + 1 if fine else BAD) for n, fine in enumerate(good)]
        await w.settle()
        w.go()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [not isinstance(answer, Exception) for answer in answers] == good
        assert len(w.model.calls) - 1 <= 2 * len(good) - 1
        await first

    use(Model, work)


def test_a_broken_component_is_not_called_more_often_than_without_batching() -> None:
    async def work(w: Work) -> None:
        answers = await asyncio.gather(*(w.ask(n) for n in range(64)), return_exceptions=True)
        (text,) = {str(answer) for answer in answers}
        assert text.startswith("node 'a' failed: RuntimeError: broken (")
        assert len(w.model.calls) <= 64 + 2 * 6
        w.model.calls.clear()
        await asyncio.gather(*(w.ask(n) for n in range(64)), return_exceptions=True)
        assert w.model.sizes == [1] * 64

    use(Broken, work)


def test_what_is_no_requests_fault_is_not_tried_again() -> None:
    async def work(w: Work) -> None:
        answers = await asyncio.gather(*(w.ask(n) for n in range(64)), return_exceptions=True)
        assert all(isinstance(each, Unavailable) and each.retry_after == 7 for each in answers)
        assert w.model.sizes == [64]

    use(Gone, work)


def test_batches_for_which_there_is_no_memory_get_smaller() -> None:
    async def work(w: Work) -> None:
        answers = await asyncio.gather(*(w.ask(n) for n in range(16)))
        assert numbers(answers) == [[n] for n in range(16)]
        w.model.calls.clear()
        await asyncio.gather(*(w.ask(n) for n in range(8)))
        assert w.model.sizes == [4, 4]

    use(Small, work, max_queue=100)


@pytest.mark.parametrize("requests", [1, 3])
def test_a_component_must_return_a_row_for_each(requests: int) -> None:
    """Also where a request comes alone, or it would show under load only."""

    async def work(w: Work) -> None:
        found = await asyncio.gather(
            *(w.ask(n, n, n) for n in range(requests)), return_exceptions=True
        )
        assert all(
            str(each).startswith("node 'a' failed: output 'output' has shape [2] for 3 rows")
            for each in found
        )
        for _ in range(20):
            with pytest.raises(NodeError, match="has shape"):
                await w.ask(1, 2, 3)

    use(Mean, work)


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def work(w: Work) -> None:
        w.model.seconds = 0.5
        started = time.monotonic()
        await w.ask(0)
        took = time.monotonic() - started
        w.model.seconds = 0.001
        first = await w.busy()
        waiting = [w.start(n) for n in range(1, 5)]
        await w.settle()
        # The component is held, so that only a request that does not wait for it can end.
        with pytest.raises(Unavailable, match="node 'a' has its queue full: 4 requests") as found:
            await w.ask(5)
        # One request took half a second or longer, and five are to be done.
        assert 3 <= found.value.retry_after <= math.ceil(5 * took) + 1
        w.go()
        assert numbers(await asyncio.gather(first, *waiting)) == [[n] for n in range(5)]
        assert numbers([await w.ask(6)]) == [[6]]

    use(Model, work, max_size=2, max_queue=4)


def test_unless_told_otherwise_one_full_batch_may_wait() -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        waiting = [w.start(*[n] * 3) for n in range(1, 11)]
        await w.settle()
        refused = [each for each in waiting if each.done()]
        assert len(refused) == 8
        assert all(isinstance(each.exception(), Unavailable) for each in refused)
        w.go()
        assert numbers(await asyncio.gather(first, *waiting[:2])) == [[0], [1] * 3, [2] * 3]

    use(Model, work, max_size=8)


def test_a_burst_fills_the_component_and_the_queue() -> None:
    """As if each had come by itself: a batch runs, and a batch waits."""

    async def work(w: Work) -> None:
        answers = await asyncio.gather(*(w.ask(n) for n in range(12)), return_exceptions=True)
        assert numbers(answers[:8]) == [[n] for n in range(8)]
        assert all(isinstance(each, Unavailable) for each in answers[8:])
        assert w.model.sizes == [4, 4]

    use(Model, work, max_size=4)


def test_a_full_queue_does_not_refuse_while_the_component_is_free() -> None:
    async def work(w: Work) -> None:
        answers = await asyncio.gather(*(w.ask(n) for n in range(2)))
        assert numbers(answers) == [[0], [1]]
        assert w.model.sizes == [2]

    use(Model, work, max_delay="20s", max_queue=2)


def test_those_whose_time_is_over_are_dropped_before_the_component_sees_them() -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        soon = time.monotonic() + 0.05
        late = [w.start(n, context=Context(deadline=soon)) for n in (1, 3)]
        patient = [w.start(n, context=Context(deadline=soon + 60)) for n in (2, 4)]
        await w.until(lambda: time.monotonic() > soon)
        w.go()
        answers = await asyncio.gather(*late, return_exceptions=True)
        assert all(isinstance(answer, DeadlineExceeded) for answer in answers)
        assert "node 'a' was not free" in str(answers[0])
        assert numbers(await asyncio.gather(first, *patient)) == [[0], [2], [4]]
        assert w.model.calls == [[0], [2, 4]]

    use(Model, work)


def test_those_who_gave_up_are_taken_out_and_free_their_place() -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        waiting = [w.start(n) for n in range(1, 5)]
        await w.settle()
        for each in waiting[1:3]:
            each.cancel()
        await w.settle()
        waiting += [w.start(5), w.start(6)]
        await w.settle()
        w.go()
        answers = await asyncio.gather(first, waiting[0], *waiting[3:])
        assert numbers(answers) == [[0], [1], [4], [5], [6]]
        assert w.model.calls == [[0], [1, 4, 5, 6]]

    use(Model, work, max_queue=4)


def test_one_that_gives_up_in_the_middle_harms_nobody() -> None:
    async def work(w: Work) -> None:
        w.model.gate.clear()
        asked = [w.start(n) for n in range(4)]
        await w.until(lambda: w.model.inside == 1)
        asked[0].cancel()
        await w.settle()
        w.go()
        assert numbers(await asyncio.gather(*asked[1:])) == [[1], [2], [3]]
        assert w.model.calls == [[0, 1, 2, 3]]

    use(Model, work)


def test_a_coroutine_that_nobody_waits_for_is_cancelled() -> None:
    async def work(w: Work) -> None:
        w.model.gate.clear()
        asked = [w.start(n) for n in range(3)]
        await w.until(lambda: w.model.inside == 1)
        for each in asked[:2]:
            each.cancel()
        await w.settle()
        assert w.model.cancelled == 0
        asked[2].cancel()
        await w.until(lambda: w.model.cancelled == 1)
        w.go()
        assert numbers([await w.ask(9)]) == [[9]]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    use(Async, work)


def test_a_thread_that_nobody_waits_for_still_keeps_others_out() -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        first.cancel()
        others = [w.start(n) for n in (1, 2)]
        await w.settle()
        later = w.start(3)
        await w.settle()
        w.go()
        assert numbers(await asyncio.gather(*others, later)) == [[1], [2], [3]]
        assert w.model.most == 1
        assert w.model.calls == [[0], [1, 2, 3]]

    use(Model, work)


def test_a_higher_priority_goes_first() -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        levels = [0, 9, 1, 7, 0, 1]
        asked = [
            w.start(n + 1, context=Context(parameters={"priority": each}))
            for n, each in enumerate(levels)
        ]
        await w.settle()
        w.go()
        await asyncio.gather(first, *asked)
        assert w.model.calls == [[0], [3, 6], [1, 5], [4, 2]]

    use(Model, work, max_size=2, max_queue=100)


def test_what_is_no_priority_is_the_callers_fault() -> None:
    async def work(w: Work) -> None:
        with pytest.raises(InvalidRequest, match="priority"):
            await w.ask(1, context=Context(parameters={"priority": "high"}))
        assert w.model.calls == []

    use(Model, work)


def test_requests_are_held_for_others_if_the_spec_says_so() -> None:
    async def until_full(w: Work) -> None:
        early = w.start(0)
        await w.settle()
        assert w.model.calls == []
        others = [w.start(n) for n in range(1, 4)]
        assert numbers(await asyncio.gather(early, *others)) == [[n] for n in range(4)]
        assert w.model.calls == [[0, 1, 2, 3]]

    async def until_late(w: Work) -> None:
        assert numbers([await w.ask(0)]) == [[0]]
        assert numbers(await asyncio.gather(w.ask(1), w.ask(2))) == [[1], [2]]
        assert w.model.calls == [[0], [1, 2]]

    use(Model, until_full, max_size=4, max_delay="60s")
    use(Model, until_late, max_size=4, max_delay="50ms")


def test_a_component_that_takes_several_calls_gets_further_ones_for_full_batches() -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        asked = [w.start(n) for n in range(1, 4)]
        await w.settle()
        assert w.model.sizes == [1]
        asked += [w.start(n) for n in range(4, 6)]
        await w.until(lambda: w.model.inside == 2)
        w.go()
        assert numbers(await asyncio.gather(first, *asked)) == [[n] for n in range(6)]
        assert w.model.calls == [[0], [1, 2, 3, 4], [5]]
        assert w.model.most == 2

    use(Parallel, work, max_size=4, max_queue=8)


@pytest.mark.usefixtures("tick")
def test_a_fast_component_moves_to_the_loop_and_still_checks_rows() -> None:
    async def work(w: Work) -> None:
        while w.executor.off_loop:
            assert numbers([await w.ask(1, 2)]) == [[1, 2]]
        assert numbers([await w.ask(3)]) == [[3]]
        with pytest.raises(NodeError, match="ValueError: a bad row"):
            await w.ask(BAD)

    use(Model, work, seconds=0.0)


@pytest.mark.usefixtures("tick")
def test_a_component_that_is_not_quite_as_fast_gathers_on_the_loop() -> None:
    """There it needs no thread, and those that come in the same turn of the loop are a batch."""

    async def work(w: Work) -> None:
        for _ in range(1000):
            await w.ask(1)
            if w.model.thread == threading.get_ident():
                break
        assert w.model.thread == threading.get_ident()
        w.model.calls.clear()
        answers = await asyncio.gather(*(w.ask(n) for n in range(8)))
        assert numbers(answers) == [[n] for n in range(8)]
        assert w.model.sizes == [8]

    use(Spin, work, seconds=0.0002)


def test_where_requests_are_held_no_component_is_too_fast_to_gather() -> None:
    async def work(w: Work) -> None:
        for number in range(50):
            assert numbers([await w.ask(number)]) == [[number]]
        w.model.calls.clear()
        await asyncio.gather(*(w.ask(n) for n in range(8)))
        assert w.model.sizes == [8]

    use(Spin, work, seconds=0.0, max_delay="1ms")


def test_under_load_every_request_gets_its_own_rows() -> None:
    async def work(w: Work) -> None:
        async def client(number: int) -> None:
            for turn in range(10):
                values = [number * 100 + turn + row / 8 for row in range(turn % 4 + 1)]
                assert numbers([await w.ask(*values)]) == [values]

        await asyncio.gather(*(client(number) for number in range(32)))
        # One by one, it would be called 320 times.
        assert len(w.model.calls) < 160
        assert sum(w.model.sizes) == 32 * sum(turn % 4 + 1 for turn in range(10))
        assert w.model.most == 1

    use(Model, work, seconds=MODEL_S, max_queue=1000)


def test_retries_and_timeouts_are_those_of_the_request() -> None:
    async def work(w: Work) -> None:
        first = await w.busy()
        with pytest.raises(DeadlineExceeded, match="within its timeout of 2s"):
            await w.ask(1)
        w.go()
        with pytest.raises(DeadlineExceeded):
            await first
        w.model.calls.clear()
        answers = await asyncio.gather(
            w.ask(BAD), *(w.ask(n) for n in range(3)), return_exceptions=True
        )
        assert isinstance(answers[0], NodeError)
        assert numbers(answers[1:]) == [[0], [1], [2]]

    use(Model, work, fields={"timeout": "2s"})


def test_a_component_that_takes_the_context_cannot_be_batched() -> None:
    with pytest.raises(LoadError, match=r"node 'a': Curious.predict\(\) takes `context`.*batching"):
        use(Curious, lambda w: w.ask(1))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"inputs": {"x": "flat"}}, "nodes.a.inputs.x: 'flat' has no rows"),
        ({"outputs": {"o": ("FP32", [])}}, "nodes.a.batching: output 'o' has no rows"),
    ],
)
def test_tensors_that_are_known_to_have_no_rows(fields: dict[str, Any], words: str) -> None:
    graph = Graph("g").input("x", "FP32", [-1]).input("flat", "FP32", [])
    options = {"inputs": {"x": "x"}, **fields}
    graph.predictor("a", component=Model, batching={"max_size": 2}, **options).output("y", "a")
    with pytest.raises(SpecError, match=words):
        graph.run({})


def test_tensors_without_rows_that_come_all_the_same() -> None:
    async def work(w: Work) -> None:
        with pytest.raises(NodeError, match="same rows"):
            await w.ask(x=np.array(1.0, np.float32))

    use(Model, work)


def test_evaluation_without_an_engine_batches_as_well() -> None:
    graph = Graph("g").input("x", "FP32", [-1, 2])
    graph.predictor("a", component=Model, inputs={"x": "x"}, batching={"max_size": 2})
    answer = graph.output("y", "a").run({"x": np.array([[1, 2]] * 3, np.float32)})
    assert answer["y"].tolist() == [[-1, -2]] * 3
