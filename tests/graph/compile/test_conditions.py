"""Conditions of the traffic's rules are checked where they stand."""

from __future__ import annotations

import pytest

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_text

SPEC = """\
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


def problems(*rules: str) -> list[str]:
    try:
        load_text(SPEC + "".join(f"      - {rule}\n" for rule in rules), "f")
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_good_conditions() -> None:
    assert (
        problems(
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
def test_mistakes_have_their_place(when: str, words: str) -> None:
    (found,) = problems('{when: "true", to: stable}', f'{{when: "{when}", to: candidate}}')
    assert found.startswith("f:14:10: spec.traffic.rules.1.when: ")
    assert words in found


def test_mistakes_do_not_hide_each_other() -> None:
    found = problems(
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
