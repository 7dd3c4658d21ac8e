"""Canonical YAML: what is written reads back as the same graph."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anabranch.specs.checks import check
from anabranch.specs.dump import to_yaml
from anabranch.specs.loader import parse
from anabranch.specs.models import InferenceGraph
from tests.strategies import graphs, tricky_texts


@given(graphs())
def test_reads_back_as_an_equal_graph(graph: InferenceGraph) -> None:
    text = to_yaml(graph)
    checked = check(parse(text))
    assert checked.problems == ()
    assert checked.graph == graph
    assert checked.graph.to_dict() == graph.to_dict()
    assert to_yaml(checked.graph) == text


@given(st.dictionaries(st.sampled_from(["MODE", "on", "_1", "E1"]), tricky_texts, min_size=1))
def test_variables_read_back_as_the_texts_that_they_are(env: dict[str, str]) -> None:
    node = {"type": "transformer", "method": "softmax", "inputs": {"x": "x"}, "env": env}
    body = {
        "inputs": {"x": {"datatype": "FP32", "shape": [2]}},
        "nodes": {"a": {**node, "secrets": {"KEY": {"kubernetes": {"name": "n", "key": "k"}}}}},
        "outputs": {"y": "a"},
    }
    about = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph", "metadata": {"name": "g"}}
    graph = InferenceGraph.model_validate({**about, "spec": body})
    assert check(parse(to_yaml(graph))).graph == graph
