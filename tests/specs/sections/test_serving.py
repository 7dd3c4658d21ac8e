"""A port of the graph's own, or a pool."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_text
from anabranch.specs.sections.serving import serving_rules

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {{name: g}}
spec:
  inputs: {{x: {{datatype: FP32, shape: [-1, 2]}}}}
  nodes:
    a: {{type: transformer, component: "components.py:A", inputs: {{x: x}}{node}}}
    b: {{type: transformer, component: "components.py:A", inputs: {{x: a}}}}
    {more}
  outputs: {{y: b}}
  {rest}
"""
POOL = "serving: {pool: small}"


def load(node: str = "", more: str = "", rest: str = POOL) -> Any:
    return load_text(SPEC.format(node=node, more=more, rest=rest)).plan


def refused(**parts: str) -> str:
    with pytest.raises(SpecError) as caught:
        load(**parts)
    return str(caught.value)


def test_a_light_graph_may_be_in_a_pool() -> None:
    assert load().pool == "small"
    assert load(rest="").pool is None
    assert load(rest="serving: {port: 7001}").pool is None


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("serving: {}", "spec.serving: needs `port`"),
        ("serving: {pool: small, port: 7001}", "spec.serving.port: a graph in a pool has no port"),
        ("serving: {pool: Small.Pool}", "spec.serving.pool: 'Small.Pool'"),
        (f"{POOL}\n  scaling: {{replicas: 2}}", "spec.serving.pool: a graph in a pool has no `sca"),
        (
            f"{POOL}\n  placement: {{labels: {{zone: a}}}}",
            "spec.serving.pool: a graph in a pool has no `placement`, for a pool is a process on",
        ),
    ],
)
def test_what_serving_may_not_say(rest: str, expected: str) -> None:
    assert expected in refused(rest=rest)


@pytest.mark.parametrize(
    ("node", "field"),
    [
        (", resources: {cpu: 1}", "resources"),
        (", resources: {gpu: 1}", "resources"),
        (", scaling: {replicas: 2}", "scaling"),
        (", placement: {isolate: true}", "placement"),
        (", placement: {labels: {zone: a}}", "placement"),
        (", placement: {node_affinity: worker}", "placement"),
    ],
)
def test_a_node_of_a_pool_has_no_process_of_its_own(node: str, field: str) -> None:
    found = refused(node=node)
    assert f"spec.nodes.a.{field}: a node of a graph in a pool ('small') has no `{field}`" in found


def test_a_graph_of_a_pool_has_no_explainer() -> None:
    more = "e: {type: explainer, explains: a, component: 'components.py:E'}"
    assert "spec.nodes.e.type: an explainer runs in a process of its own" in refused(more=more)


def test_nodes_may_be_tied_to_each_other_in_a_pool() -> None:
    assert load(node=", placement: {with: b}").pool == "small"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)
FIELDS = st.sampled_from(["serving", "scaling", "monitors", "port", "pool"])


@given(st.dictionaries(FIELDS, ANYTHING | st.dictionaries(FIELDS, ANYTHING)))
def test_no_text_breaks_the_rules(spec: dict[str, Any]) -> None:
    for path, message in serving_rules(spec):
        assert path in ((), ("port",), ("pool",))
        assert message
