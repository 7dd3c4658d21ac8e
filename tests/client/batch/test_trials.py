"""Rows that end the process that evaluates them are found over the ends of processes."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from anabranch.client.batch.asking import RowAsker
from anabranch.client.batch.mapping import mapped
from anabranch.client.batch.pace import JobGate
from anabranch.client.batch.rows import InputRows
from anabranch.client.batch.trials import ChunkTrials
from anabranch.components.tensors.arrays import Array
from tests.client.batch.graphs import BAD, Doubling
from tests.examples import examples

ENDS = 666.0


class Killed(BaseException):
    """The end of a process."""


def process(
    path: Path,
    values: list[float],
    size: int,
    kill: bool = False,
    machine: str = "",
    taken: Container[str] = (),
) -> dict[int, str]:
    """Answer a chunk in requests of ``size`` rows, as a process does that may end on the way."""

    def end(x: Array) -> None:
        if kill or (x == ENDS).any():
            raise Killed

    async def main() -> dict[int, str]:
        trials, graph = ChunkTrials(str(path), machine, lambda: taken), Doubling(before=end)
        asker = RowAsker(graph, JobGate(1), trials=trials)
        mapping = mapped(await graph.types(), ["x"], {}, [])
        rows = InputRows(7, len(values), {"x": np.array(values)})
        failed = [
            one
            for at in range(0, len(values), size)
            for one in (await asker.answers(rows.part(at, min(at + size, len(values))), mapping))[1]
        ]
        trials.close()
        return {one.row - 7: one.error for one in failed}

    return asyncio.run(main())


def starts(path: Path, values: list[float], size: int) -> tuple[int, dict[int, str]]:
    """Start processes until one answers the chunk; return how many, and the rows that failed."""
    for count in range(1, 200):
        try:
            return count, process(path, values, size)
        except Killed:
            continue
    raise AssertionError("no process has ended its work")


@given(
    values=st.lists(st.sampled_from([ENDS, BAD, 1.0, 2.0]), min_size=1, max_size=9),
    size=st.integers(1, 4),
)
@hypothesis_settings(max_examples=examples(40), deadline=None)
def test_only_rows_that_end_processes_fail_for_it(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], size: int
) -> None:
    path = tmp_path_factory.mktemp("trials") / "_trials-000000.json"
    _, failed = starts(path, values, size)
    assert {at: "has ended, 3 times" in text for at, text in failed.items()} == {
        at: value == ENDS for at, value in enumerate(values) if value in (ENDS, BAD)
    }
    assert not path.exists()


def test_a_row_among_a_thousand_takes_few_processes(tmp_path: Path) -> None:
    values = [1.0] * 1000
    values[321] = ENDS
    count, failed = starts(tmp_path / "a.json", values, 1024)
    assert list(failed) == [321]
    assert count <= 2 + 2 * 10 + 3


def test_a_process_that_ends_by_chance_fails_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for _ in range(4):  # its request is divided then, and the first part of it is begun
        with pytest.raises(Killed):
            process(path, [1.0, 2.0, 3.0, 4.0], 4, kill=True)
    assert process(path, [1.0, 2.0, 3.0, 4.0], 4) == {}


def test_numbers_of_ends_as_they_were_written_once_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "_trials-000000.json"
    path.write_text('{"7+1": 3}')
    assert process(path, [1.0], 1) == {}


def test_ends_on_machines_that_are_taken_away_do_not_count(tmp_path: Path) -> None:
    """However often that happens; those on a machine that stays, or is lost, count all the same."""
    path = tmp_path / "_trials-000000.json"
    taken: set[str] = set()
    for number in range(5):
        with pytest.raises(Killed):
            process(path, [1.0], 1, kill=True, machine=f"spot-{number}", taken=taken)
        taken.add(f"spot-{number}")
    with pytest.raises(Killed):
        process(path, [1.0], 1, kill=True, machine="stays", taken=taken)
    assert process(path, [1.0], 1, machine="stays", taken=taken) == {}
    assert not path.exists()
