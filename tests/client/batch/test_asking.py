"""Rows that fail are found among others; errors of the moment cost no row its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from anabranch.client.batch import asking
from anabranch.client.batch.answers import GraphReply
from anabranch.client.batch.asking import RowAsker
from anabranch.client.batch.mapping import GraphTypes, mapped
from anabranch.client.batch.pace import JobGate
from anabranch.client.batch.rows import InputRows
from anabranch.client.http import ConnectionBroken, EngineUnreachable
from anabranch.components.tensors.arrays import Array
from anabranch.errors import (
    AnabranchError,
    Conflict,
    DeadlineExceeded,
    EngineError,
    Interrupted,
    InvalidRequest,
    JobError,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from tests.client.batch.graphs import BAD, Doubling
from tests.examples import examples

X = {"x": ("x",)}
ENDS = 666.0
"""A value that ends the process that evaluates it."""


def answers(
    graph: Doubling, values: list[float], patience: float = 60.0
) -> tuple[dict[int, float], dict[int, str]]:
    """Ask for rows; return the answers, and the errors, by row."""

    async def main() -> tuple[dict[int, float], dict[int, str]]:
        asker = RowAsker(graph, JobGate(4), patience)
        mapping = mapped(await graph.types(), ["x"], {}, [])
        rows = InputRows(0, len(values), {"x": np.array(values)})
        found, failed = await asker.answers(rows, mapping)
        good = {
            one.rows.start + at: float(y)
            for one in found
            for at, y in enumerate(one.reply.outputs["y"][:, 0])
        }
        return good, {one.row: one.error for one in failed}

    return asyncio.run(main())


@given(st.lists(st.sampled_from([BAD, 1.0, 2.0]), min_size=1, max_size=40))
@hypothesis_settings(max_examples=examples(60), deadline=None)
def test_bad_rows_fail_alone(values: list[float]) -> None:
    found, failed = answers(Doubling(), values)
    assert found == {at: 2 * value for at, value in enumerate(values) if value != BAD}
    assert set(failed) == {at for at, value in enumerate(values) if value == BAD}
    assert set(failed.values()) <= {"node 'double' failed: a bad row"}


def test_one_bad_row_costs_few_requests() -> None:
    graph = Doubling()
    answers(graph, [1.0] * 40 + [BAD] + [1.0] * 23)
    assert len(graph.rows) <= 2 * 6 + 1


def once(error: Exception, times: int = 1) -> Callable[[Array], None]:
    left = times

    def fail(x: Array) -> None:
        nonlocal left
        if left:
            left -= 1
            raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("full", 0),
        TooManyRequests("too many", 0),
        EngineUnreachable("gone"),
        Conflict("loading"),
    ],
)
def test_errors_of_the_moment_pass(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_FIRST_PAUSE_S", 0.001)
    graph = Doubling(before=once(error, 3))
    assert answers(graph, [1.0, 2.0]) == ({0: 2.0, 1: 4.0}, {})
    assert graph.rows == [2]


def test_a_graph_that_never_answers_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_FIRST_PAUSE_S", 0.001)
    graph = Doubling(before=once(Unavailable("no healthy replica", 0), 10_000))
    with pytest.raises(JobError, match=r"no answer for 0 s: no healthy replica.*goes on where"):
        answers(graph, [1.0], patience=0.05)


@pytest.mark.parametrize("error", [TooLarge("too many bytes"), InvalidRequest("a wrong value")])
def test_requests_that_are_too_large_are_halved(error: Exception) -> None:
    def refuse(x: Array) -> None:
        if len(x) > 2:
            raise error

    graph = Doubling(before=refuse)
    assert answers(graph, [1.0] * 8) == (dict.fromkeys(range(8), 2.0), {})
    assert graph.rows == [2, 2, 2, 2]


def test_late_rows_are_asked_for_alone_and_some_times() -> None:
    late = 0

    def wait(x: Array) -> None:
        nonlocal late
        if (x == 5.0).any():
            late += 1
            raise DeadlineExceeded("the deadline passed")

    found, failed = answers(Doubling(before=wait), [1.0, 5.0])
    assert (found, failed) == ({0: 2.0}, {1: "the deadline passed"})
    assert late == 1 + asking._LATE


def test_a_row_that_no_rule_routes_fails_alone() -> None:
    graph = Doubling(before=once(NotFound("no rule holds"), 1))
    assert answers(graph, [1.0]) == ({}, {0: "no rule holds"})


def test_a_key_that_is_refused_ends_the_job() -> None:
    with pytest.raises(EngineError, match="a key is needed"):
        answers(Doubling(before=once(EngineError("a key is needed"))), [1.0, 2.0])


def test_values_that_are_no_tensor_and_rows_that_are_broken_fail_alone() -> None:
    async def main() -> dict[int, str]:
        graph = Doubling()
        mapping = mapped(await graph.types(), ["x"], {}, [])
        column = np.array(["1", "x", "3", "4"], object)
        rows = InputRows(10, 4, {"x": column}, {3: "the row has 7 values, and the header 2"})
        found, failed = await RowAsker(graph, JobGate(1)).answers(rows, mapping)
        assert [one.rows.start for one in found] == [10, 12]
        return {one.row: one.error for one in failed}

    failed = asyncio.run(main())
    assert failed[13] == "the row has 7 values, and the header 2"
    assert failed[11] == "input 'x' is FP32, and 'x' is no such value"


def test_other_errors_come_through() -> None:
    with pytest.raises(ZeroDivisionError):
        answers(Doubling(before=once(ZeroDivisionError())), [1.0])
    assert issubclass(JobError, AnabranchError)


@pytest.mark.parametrize("error", [Interrupted("gone", 0), ConnectionBroken("gone", 0)])
def test_a_row_that_ends_each_process_fails_alone(
    error: AnabranchError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_FIRST_PAUSE_S", 0.001)

    def end(x: Array) -> None:
        if (x == ENDS).any():
            raise error

    good, failed = answers(graph := Doubling(before=end), [0.0, 1.0, 2.0, ENDS, 4.0])
    assert good == {0: 0.0, 1: 2.0, 2: 4.0, 4: 8.0}
    assert failed == {3: "the process that evaluated it has ended, 3 times in a row"}
    assert sorted(graph.rows) == [1, 1, 2]


def test_a_row_whose_process_ends_by_chance_has_its_answer() -> None:
    ends = iter([True, True, False])

    def end(x: Array) -> None:
        if next(ends, False):
            raise Interrupted("gone", 0)

    assert answers(Doubling(before=end), [3.0]) == ({0: 6.0}, {})


def test_an_engine_that_is_away_for_long_ends_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a tunnel, which takes connections and breaks them."""
    monkeypatch.setattr(asking, "_LONGEST_PAUSE_S", 0.001)
    calls = iter([False, *[True] * 9])

    def call(x: Array | None = None) -> None:
        if next(calls, False):
            raise ConnectionBroken("gone", 0)

    class Away(Doubling):
        async def types(self) -> GraphTypes:
            call()
            return await super().types()

    assert answers(Away(before=call), [3.0]) == ({0: 6.0}, {})


def test_what_has_ended_a_process_is_asked_again_alone() -> None:
    """So that none of the others is ended with it, again and again."""
    values = [float(at) for at in range(12)] + [ENDS]
    under_way = 0
    seen: list[tuple[bool, int]] = []

    class Ending(Doubling):
        async def infer(self, tensors: Mapping[str, Array]) -> GraphReply:
            nonlocal under_way
            under_way += 1
            ends = bool((tensors["x"] == ENDS).any())
            seen.append((ends, under_way))
            try:
                await asyncio.sleep(0.001)
                if ends:
                    raise Interrupted("gone", 0)
                return await super().infer(tensors)
            finally:
                under_way -= 1

    async def main() -> None:
        gate, graph = JobGate(8), Ending()
        gate._window._size = 8.0
        asker = RowAsker(graph, gate)
        mapping = mapped(await graph.types(), ["x"], {}, [])
        asked = [InputRows(at, 1, {"x": np.array([value])}) for at, value in enumerate(values)]
        found = await asyncio.gather(*(asker.answers(rows, mapping) for rows in reversed(asked)))
        assert [len(answered) for answered, _ in found] == [0, *[1] * 12]

    asyncio.run(main())
    _, *again = [count for ends, count in seen if ends]
    assert again == [1, 1]
    assert max(count for _, count in seen) > 1
