"""Values of nodes for the request log: only of requests that are logged."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from anabranch.components.annotations import Annotations
from anabranch.components.contract import Context
from anabranch.serve.streams.records import RECORDS
from tests.json_services import graph_of_spec

SPEC = {
    "inputs": {"x": {"datatype": "FP64", "shape": [-1, 2]}},
    "nodes": {
        "columns": {
            "type": "transformer", "method": "split", "args": {"columns": ["a", "b"]},
            "inputs": {"x": "x"},
        },
        "double": {
            "type": "transformer", "method": "scale", "args": {"multiply_by": 2},
            "inputs": {"x": "columns.a"},
        },
    },
    "outputs": {"y": "double", "b": "columns.b"},
    "telemetry": {"requests": {"nodes": ["columns.a", "double"]}},
}  # fmt: skip
X = np.array([[1.0, 2.0], [3.0, 4.0]])


def test_values_are_taken_where_there_is_a_place_for_them() -> None:
    with closing(graph_of_spec(SPEC)) as graph:
        logged, plain = Context(annotations=Annotations(values={})), Context()
        graph.run({"x": X}, None, logged)
        graph.run({"x": X}, None, plain)
        some = Context(annotations=Annotations(values={}))
        graph.run({"x": X}, ["b"], some)
    assert plain.annotations.values is None
    assert logged.annotations.values is not None
    found = {name: array.tolist() for name, array in logged.annotations.values.items()}
    assert found == {"columns.a": [1, 3], "double.output": [2, 6]}
    # What a request did not need did not run.
    assert list(some.annotations.values or ()) == ["columns.a"]


def test_values_cross_processes_with_answers_and_not_with_requests() -> None:
    records = {record.cls: record for record in RECORDS}
    annotations = Annotations(values={"a.b": X})
    assert annotations
    assert not Annotations()
    (*_, asked) = records[Context].take(Context(annotations=annotations))
    assert asked.values == {}
    take, make = records[Annotations].take, records[Annotations].make
    assert make(*take(annotations)).values == {"a.b": X}
    head = Annotations(values={"c.d": X})
    head.merge(make(*take(annotations)))
    assert list(head.values or ()) == ["c.d", "a.b"]
    unlogged = Annotations()
    unlogged.merge(annotations)
    assert unlogged.values is None
