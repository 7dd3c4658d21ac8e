"""Rules of a node's contract."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from anabranch.specs.rules import broken_rules
from anabranch.specs.sections.contracts import contract_rules
from tests.strategies import json_values


def of(**node: Any) -> list[str]:
    given = {"component": "m.py:M", **node}
    document = {"spec": {"nodes": {"n": {k: v for k, v in given.items() if v is not None}}}}
    return [
        f"{'.'.join(map(str, path[3:]))}: {text}".removeprefix(": ")
        for path, text in broken_rules(document)
    ]


ONE = {"X": "data"}
TWO = {"X": "data", "Y": "data"}


@pytest.mark.parametrize(
    ("node", "problems"),
    [
        ({"type": "predictor", "contract": "seldon", "inputs": ONE}, []),
        ({"type": "router", "contract": "seldon", "inputs": ONE, "routes": ["a"]}, []),
        ({"type": "combiner", "contract": "seldon", "inputs": ["a", "b"]}, []),
        ({"type": "combiner", "contract": "seldon", "inputs": TWO}, []),
        ({"type": "transformer", "contract": "seldon", "inputs": ONE,
          "method": "transform_output"}, []),
        ({"type": "predictor", "contract": "mlserver", "inputs": TWO}, []),
        ({"type": "predictor", "contract": "mlserver", "inputs": TWO, "method": "predict_stream"},
         []),
        ({"type": "transformer", "contract": "mlserver", "inputs": TWO}, []),
        ({"type": "combiner", "contract": "mlserver", "inputs": TWO}, []),
        ({"type": "predictor", "contract": "seldon", "inputs": TWO},
         ["inputs: a component with Seldon's contract takes exactly one payload, and here are 2 "
          "inputs; only a combiner's `aggregate` takes several"]),
        ({"type": "router", "contract": "seldon", "routes": ["a"]},
         ["a component with Seldon's contract takes exactly one payload, and here are no "
          "inputs; only a combiner's `aggregate` takes several"]),
        ({"type": "predictor", "contract": "seldon", "inputs": ONE,
          "outputs": {"a": {}, "b": {}}},
         ["outputs: a component with Seldon's contract returns one payload; declare one output"]),
        ({"type": "transformer", "contract": "seldon", "inputs": ONE, "method": "transform"},
         ["method: must be `transform_input` or `transform_output`, a method of the component"]),
        ({"type": "predictor", "contract": "mlserver", "inputs": ONE, "method": "predict_proba"},
         ["method: must be `predict` or `predict_stream`, a method of the component"]),
        ({"type": "transformer", "contract": "mlserver", "inputs": ONE, "method": "scale"},
         ["method: a node has either `component` or `method`; remove one"]),
        ({"type": "explainer", "contract": "seldon"},
         ["contract: `seldon` is for nodes of type `transformer`, `predictor`, `combiner` and "
          "`router`, not `explainer`"]),
        ({"type": "router", "contract": "mlserver", "routes": ["a"]},
         ["contract: `mlserver` is for nodes of type `transformer`, `predictor` and `combiner`, "
          "not `router`"]),
        ({"type": "combiner", "contract": "mlserver", "inputs": ["a"]},
         ["inputs: MLServer names the inputs of a request; write a map of name: source"]),
        ({"type": "predictor", "contract": "mlserver", "inputs": ONE, "batching": {"max_size": 2}},
         ["batching: MLServer's contract hands over one request a call; remove it"]),
        ({"type": "predictor", "contract": "seldon", "inputs": ONE, "component": None,
          "runtime": "sklearn"},
         ["contract: is that of a `component`, your class; add one, or remove `contract`"]),
        ({"type": "predictor", "contract": "kserve", "inputs": TWO}, []),
    ],
)  # fmt: skip
def test_rules(node: dict[str, Any], problems: list[str]) -> None:
    assert of(**node) == problems


@given(json_values)
def test_anything_can_be_judged(value: Any) -> None:
    for contract in ("seldon", "mlserver", value):
        for kind in ("transformer", "predictor", "combiner", "router", "explainer"):
            node = {"type": kind, "contract": contract, "inputs": value, "method": value}
            list(contract_rules(node | {"outputs": value}))
            list(broken_rules({"spec": {"nodes": {"n": node}}}))
