"""What `graph.run` takes, and the folder in which nodes are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph, InvalidRequest

READS = """
from pathlib import Path
import numpy as np

class Reads:
    def __init__(self, table):
        self.rate = float(Path(table).read_text())

    def load(self):
        self.loaded_in = Path.cwd()

    def transform(self, x):
        return x * np.float32(self.rate)
"""


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    (tmp_path / "parts.py").write_text(READS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rate.txt").write_text("2.5")
    return (
        Graph("reads", root=tmp_path)
        .input("x", "FP32", [-1, 2])
        .transformer(
            "read", component="parts.py:Reads", args={"table": "data/rate.txt"}, inputs={"x": "x"}
        )
        .output("y", "read")
    )


def test_relative_paths_in_arguments_start_from_the_root(graph: Graph, tmp_path: Path) -> None:
    before = Path.cwd()
    with graph:
        np.testing.assert_array_equal(graph.run({"x": [[2, 4]]})["y"], np.float32([[5, 10]]))
    assert Path.cwd() == before


@pytest.mark.parametrize("inputs", [{"x": [[2, 4]]}, [[2, 4]], [2.0, 4], {"x": (2, 4)}])
def test_plain_values_become_the_declared_type(graph: Graph, inputs: Any) -> None:
    with graph:
        np.testing.assert_array_equal(graph.run(inputs)["y"], np.float32([[5, 10]]))


def test_a_frame_is_taken(graph: Graph) -> None:
    pandas = pytest.importorskip("pandas")
    with graph:
        found = graph.run(pandas.DataFrame({"a": [2, 4], "b": [1, 0]}))["y"]
    np.testing.assert_array_equal(found, np.float32([[5, 2.5], [10, 0]]))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([["a", "b"]], "input 'x' is FP32, and 'a' is no such value"),
        ({"x": np.ones((1, 2))}, "input 'x': datatype FP64, expected FP32"),
        ({"x": [[1, 2, 3]]}, r"input 'x': shape \[1, 3\], expected \[-1, 2\]"),
        ({"z": [[1, 2]]}, "graph 'reads' has no input 'z'"),
        ({}, "input 'x' .* is missing"),
    ],
)
def test_other_values_are_refused(graph: Graph, inputs: Any, message: str) -> None:
    with graph, pytest.raises(InvalidRequest, match=message):
        graph.run(inputs)
