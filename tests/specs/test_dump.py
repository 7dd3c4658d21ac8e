"""Canonical YAML: what is written reads back as the same graph."""

from __future__ import annotations

from hypothesis import given

from anabranch.specs import check, parse, to_yaml
from anabranch.specs.models import InferenceGraph
from tests.strategies import graphs


@given(graphs())
def test_reads_back_as_an_equal_graph(graph: InferenceGraph) -> None:
    text = to_yaml(graph)
    checked = check(parse(text))
    assert checked.problems == ()
    assert checked.graph == graph
    assert checked.graph.to_dict() == graph.to_dict()
    assert to_yaml(checked.graph) == text
