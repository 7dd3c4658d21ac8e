"""A graph's own port in the language, and in the plan."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch import Graph
from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_text
from anabranch.specs.models import Serving

TEXT = """\
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: g}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 4]}}
  nodes: {a: {type: transformer, method: softmax, inputs: {x: x}}}
  outputs: {y: a}
  scaling: {min: 0, max: 1}
  serving: SERVING
"""


def graph(**options: Any) -> Graph:
    made = Graph("g", **options).input("x", "FP32", [-1, 4])
    return made.transformer("a", method="softmax", inputs={"x": "x"}).output("y", "a")


@pytest.mark.parametrize("serving", [Serving(port=7000), {"port": 7000}])
def test_a_graph_s_own_port_is_in_the_plan(serving: Any) -> None:
    made = graph(serving=serving)
    assert made.plan.port == 7000
    assert made.plan.warnings == ()
    assert "  serving: {port: 7000}\n" in made.to_yaml()
    assert load_text(made.to_yaml()).plan == made.plan


@pytest.mark.parametrize(("name", "pool"), [("g", "light"), ("team/g", "team/light")])
def test_a_pool_is_one_namespace_s(name: str, pool: str) -> None:
    text = TEXT.replace("{name: g}", f"{{name: {name}}}").replace(
        "  scaling: {min: 0, max: 1}\n", ""
    )
    found = load_text(text.replace("SERVING", "{pool: light}"))
    assert found.plan.pool == pool
    assert found.graph.spec.serving == Serving(pool="light")


def test_a_graph_has_no_port_of_its_own_unless_it_says_so() -> None:
    assert graph().plan.port is None


@pytest.mark.parametrize(
    ("serving", "expected"),
    [
        ("{port: 0}", "<spec>:9:13: spec.serving.port: must be at least 1, not 0"),
        ("{port: 65536}",
         "<spec>:9:13: spec.serving.port: must be at most 65535, not 65536"),
        ("{port: '80'}",
         "<spec>:9:13: spec.serving.port: must be a whole number, not the text '80'; remove the "
         "quotes"),
        ("{port: 80.0}",
         "<spec>:9:13: spec.serving.port: must be a whole number, not the number 80.0"),
        ("{}", "<spec>:9:3: spec.serving: needs `port`, a port of the graph's own, or `pool`, a "
         "process that it shares"),
        ("{prot: 80}",
         "<spec>:9:13: spec.serving.prot: unknown field (did you mean `port`?)"),
        ("8000", "<spec>:9:3: spec.serving: expects fields, not the number 8000"),
    ],
)  # fmt: skip
def test_mistakes_have_their_place(serving: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_text(TEXT.replace("SERVING", serving))
    assert [str(problem) for problem in caught.value.problems] == [expected]


def test_a_graph_that_may_sleep_is_warned_of() -> None:
    plan = load_text(TEXT.replace("SERVING", "{port: 7000}")).plan
    assert [str(warning) for warning in plan.warnings] == [
        "<spec>:9:13: spec.serving.port: connections to the port are refused while the graph "
        "sleeps, which `scaling: {min: 0}` allows; only requests at the engine's ports wake it"
    ]
    assert graph(serving={"port": 7000}, scaling={"min": 1, "max": 2}).plan.warnings == ()
    assert graph(scaling={"min": 0, "max": 2}).plan.warnings == ()


RULES = """\
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: g}
spec:
  inputs:
    x: {datatype: FP32, shape: [-1]}
  nodes:
    a: {type: transformer, method: softmax, inputs: {x: x}}
  outputs:
    y: a
  traffic:
    rules:
"""


def mistakes(*rules: str) -> list[str]:
    try:
        load_text(RULES + "".join(f"      - {rule}\n" for rule in rules), "f")
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_good_conditions() -> None:
    assert (
        mistakes(
            "{when: \"request.headers['x-tier'] == 'gold'\", to: candidate}",
            '{when: "has(request.parameters.test) && request.parameters.test", to: r7}',
            "{when: \"request.id.startsWith('t-')\", to: stable}",
        )
        == []
    )


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("request.id ==", "the expression cannot be parsed"),
        ("reqest.id == 'a'", "unknown name 'reqest' (did you mean 'request'?"),
        ("request.header['a'] == 'b'", "request has no 'header' (did you mean 'headers'?"),
        ("request.headers['X-Tier'] == 'a'", "write 'x-tier', not 'X-Tier'"),
        (
            "inputs.x[0] > 1.0",
            "'inputs' is not available here: the revision is chosen before tensors are looked at; "
            "use request.headers or request.parameters",
        ),
        ("randomly() > 0.5", "unknown function 'randomly'"),
    ],
)
def test_mistakes_in_conditions_have_their_place(when: str, words: str) -> None:
    (found,) = mistakes('{when: "true", to: stable}', f'{{when: "{when}", to: candidate}}')
    assert found.startswith("f:14:10: spec.traffic.rules.1.when: ")
    assert words in found


def test_mistakes_do_not_hide_each_other() -> None:
    found = mistakes(
        '{when: "inputs.x[0] > 1.0", to: canary}',
        "{when: 3, to: stable}",
        "{when: \"requst.id == ''\", to: r0}",
        "nothing",
    )
    assert [line.split(": ")[:2] for line in found] == [
        ["f:13:10", "spec.traffic.rules.0.when"],
        ["f:13:37", "spec.traffic.rules.0.to"],
        ["f:14:10", "spec.traffic.rules.1.when"],
        ["f:15:10", "spec.traffic.rules.2.when"],
        ["f:15:35", "spec.traffic.rules.2.to"],
        ["f:16:9", "spec.traffic.rules.3"],
    ]
    assert "is not a target of traffic: stable, candidate, or a revision such as r7" in found[1]
