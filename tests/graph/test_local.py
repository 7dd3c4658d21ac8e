"""What `graph.run` takes, and the folder in which nodes are loaded."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import AnabranchError, Graph, InvalidRequest

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


def test_each_step_of_loading_is_logged(graph: Graph, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "anabranch.graph.loading")
    with graph:
        graph.run({"x": [[1.0, 2.0]]})
    steps = [one.getMessage() for one in caplog.records if one.name == "anabranch.graph.loading"]
    assert steps == ["constructing node read", "loading node read"]


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


RUNS = """
from anabranch import Graph

class Runs:
    def __init__(self, where):
        self.where = where
        self.run("__init__")

    def load(self):
        self.run("load")

    def run(self, where):
        if where == self.where:
            inner = Graph("inner").input("x", "FP32", [-1]).output("y", "a")
            with inner.transformer("a", method="softmax", inputs={"x": "x"}):
                inner.run([1.0])

class Awaits(Runs):
    async def transform(self, x):
        self.run("transform")
        return x

class Calls(Runs):
    def transform(self, x):
        self.run("transform")
        return x
"""


@pytest.mark.parametrize(
    ("cls", "where", "is_refused"),
    [("Calls", "__init__", True), ("Calls", "load", True), ("Awaits", "transform", True),
     ("Calls", "transform", False)],
)  # fmt: skip
def test_a_graph_within_a_graph_never_waits_for_itself(
    tmp_path: Path, cls: str, where: str, is_refused: bool
) -> None:
    (tmp_path / "parts.py").write_text(RUNS)
    graph = Graph("outer", root=tmp_path).input("x", "FP32", [-1]).output("y", "a")
    graph.transformer("a", component=f"parts.py:{cls}", args={"where": where}, inputs={"x": "x"})
    with graph, pytest.raises(AnabranchError) if is_refused else nullcontext() as caught:
        graph.run([1.0])
    if caught is not None:
        assert "cannot run another graph in its constructor, in load()" in str(caught.value)


COUNTS = """
loaded = []

class Counts:
    def load(self):
        loaded.append(self)

    def transform(self, x):
        return x * len(loaded)
"""


def test_threads_that_run_a_graph_first_load_it_once(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(COUNTS)
    graph = Graph("counts", root=tmp_path).input("x", "INT64", [-1]).output("y", "a")
    graph.transformer("a", component="parts.py:Counts", inputs={"x": "x"})
    begin = threading.Barrier(4)

    def run(_: int) -> int:
        begin.wait()
        return int(graph.run([1])["y"][0])

    with graph, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [1, 1, 1, 1]
