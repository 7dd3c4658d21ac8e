"""Bounds on the processes of graphs, as the environment gives them."""

from __future__ import annotations

import pytest

from anabranch.control.settings.process_bounds import ProcessBounds, machine_memory
from anabranch.errors import EngineError


def test_they_are_read_and_have_defaults() -> None:
    assert ProcessBounds.from_env({}) == ProcessBounds(machine_memory() // 2, 4096, 256, 16_384)
    given = {
        "ANABRANCH_REPLICA_MEMORY": "1GiB",
        "ANABRANCH_REPLICA_THREADS": "100",
        "ANABRANCH_REPLICA_PROCESSES": "3",
        "ANABRANCH_REPLICA_FILES": "1000",
    }
    assert ProcessBounds.from_env(given) == ProcessBounds(2**30, 100, 3, 1000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEMORY", "1000"),
        ("MEMORY", "63MiB"),
        ("MEMORY", "much"),
        ("THREADS", "2"),
        ("PROCESSES", "0"),
        ("FILES", "20"),
    ],
)
def test_what_is_none_is_named(name: str, value: str) -> None:
    variable = f"ANABRANCH_REPLICA_{name}"
    with pytest.raises(
        EngineError, match=f"{variable}='{value}' is not a (number|size) of at least"
    ):
        ProcessBounds.from_env({variable: value})
