from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import DeadlineExceeded, InvalidRequest, NodeError
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.router.errors import UnencodableOutput
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse
from anabranch.router.inference.core import InferenceCore
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.local_head import LocalHead
from tests.router.conftest import forever

Make = Callable[..., InferenceCore]
X = np.array([[1, 2]], np.float32)


def infer(core: InferenceCore, inputs: dict[str, Any] | None = None, **fields: Any) -> Any:
    call = {"headers": {"x-tier": "gold"}, "request_id": "generated"}
    request = InferenceRequest({"x": X} if inputs is None else inputs, **call, **fields)
    return asyncio.run(core.infer(request))


def arrays(response: InferenceResponse) -> dict[str, Any]:
    return {output.name: output.array.tolist() for output in response.outputs}


def test_an_answer_names_model_revision_and_request(core: Make) -> None:
    response = infer(core(), id="42")
    assert (response.model_name, response.model_version, response.id) == ("demo", "3", "42")
    assert arrays(response) == {"doubled": [[2, 4]], "rows": 1}
    assert [output.datatype for output in response.outputs] == ["FP32", "INT64"]


def test_only_the_outputs_asked_for_are_evaluated_in_that_order(core: Make) -> None:
    asked = core()
    response = infer(asked, outputs=("rows", "doubled"))
    assert [output.name for output in response.outputs] == ["rows", "doubled"]
    assert asked._head.asked == ("rows", "doubled")
    infer(asked)
    assert asked._head.asked is None


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "missing input 'x': graph 'demo' takes x FP32[-1, 2]"),
        ({"x": X, "y": X}, "unknown input 'y': graph 'demo' takes x FP32[-1, 2]"),
        ({"y": X}, "missing input 'x' and unknown input 'y': graph 'demo' takes x FP32[-1, 2]"),
        ({"x": X.astype(np.int64)}, "input 'x' must be FP32[-1, 2], got INT64[1, 2]"),
        ({"x": X[0]}, "input 'x' must be FP32[-1, 2], got FP32[2]"),
        ({"x": X.T}, "input 'x' must be FP32[-1, 2], got FP32[2, 1]"),
    ],
)
def test_inputs_are_held_to_the_signature(core: Make, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        infer(core(), inputs)
    assert str(caught.value) == message


def test_an_unknown_output_is_answered_with_those_there_are(core: Make) -> None:
    with pytest.raises(
        InvalidRequest, match=r"no output 'row' \(did you mean 'rows'\? available: "
    ):
        infer(core(), outputs=("row",))


@pytest.mark.parametrize(("given", "seen"), [("mine", "mine"), (None, "generated")])
def test_components_see_the_request(core: Make, given: str | None, seen: str) -> None:
    contexts: list[Context] = []

    async def keep(inputs: Any, context: Context) -> dict[str, Any]:
        contexts.append(context)
        return {"doubled": inputs["x"], "rows": inputs["x"]}

    infer(core(keep), id=given, parameters={"a": 1})
    (context,) = contexts
    assert (context.id, context.headers, context.parameters) == (
        seen,
        {"x-tier": "gold"},
        {"a": 1},
    )


def test_the_graphs_time_is_the_deadline(core: Make) -> None:
    with pytest.raises(DeadlineExceeded, match=r"'demo' did not answer within 0\.01s"):
        infer(core(forever, timeout=0.01))


def test_a_request_may_have_less_time_but_not_more(core: Make) -> None:
    with pytest.raises(DeadlineExceeded, match=r"0\.002s"):
        infer(core(forever), parameters={"timeout": 2000})
    with pytest.raises(DeadlineExceeded, match=r"0\.01s"):
        infer(core(forever, timeout=0.01), parameters={"timeout": 10**12})
    with pytest.raises(DeadlineExceeded, match=r"0\.01s"):
        infer(core(forever, timeout=0.01), parameters={"timeout": 0})


def test_a_priority_that_is_none_is_refused_wherever_it_would_matter(core: Make) -> None:
    assert infer(core(), parameters={"priority": 1}).outputs
    with pytest.raises(InvalidRequest, match="parameter 'priority' must be a whole number"):
        infer(core(), parameters={"priority": "high"})


@pytest.mark.parametrize("value", [-1, 1.5, "1s", True])
def test_a_timeout_that_is_no_number_of_microseconds_is_refused(core: Make, value: Any) -> None:
    with pytest.raises(InvalidRequest, match="parameter 'timeout' must be a whole number of micro"):
        infer(core(), parameters={"timeout": value})


@pytest.mark.parametrize(
    "error", [NodeError("n", "no"), TimeoutError("a bug"), ZeroDivisionError()]
)
def test_errors_of_the_executor_pass_as_they_are(core: Make, error: Exception) -> None:
    async def fail(inputs: Any, context: Context) -> dict[str, Any]:
        raise error

    with pytest.raises(type(error)) as caught:
        infer(core(fail))
    assert caught.value is error


def test_an_output_without_a_datatype_is_named(core: Make) -> None:
    async def complex_output(inputs: Any, context: Context) -> dict[str, Any]:
        return {"doubled": np.array([1j]), "rows": X}

    with pytest.raises(UnencodableOutput, match="output 'doubled': dtype complex128"):
        infer(core(complex_output))


def test_types_that_were_unknown_are_learnt_from_the_first_answer(core: Make) -> None:
    asked = core()
    before = [(tensor.name, tensor.datatype) for tensor in asked.metadata().outputs]
    assert before == [("doubled", "FP32")]
    infer(asked)
    after = [(tensor.name, tensor.datatype, tensor.shape) for tensor in asked.metadata().outputs]
    assert after == [("doubled", "FP32", (-1, 2)), ("rows", "INT64", ())]


def test_bytes_are_taken(core: Make) -> None:
    async def echo(inputs: Any, context: Context) -> dict[str, Any]:
        return {"doubled": inputs["x"], "rows": inputs["x"]}

    response = infer(
        core(echo, inputs={"x": ("BYTES", (-1,))}), {"x": np.array(["a"], dtype=object)}
    )
    assert response.outputs[0].datatype == "BYTES"


def test_optional_inputs_may_be_missing_and_absent_outputs_are_not_in_the_reply() -> None:
    graph = (
        Graph("demo").input("x", "FP32", ["rows", 2]).input("note", "BYTES", ["rows"], "text", True)
    )
    graph.input("m", "FP32", ["rows", 2], optional=True)
    graph.transformer("s", method="scale", args={"multiply_by": 2}, inputs={"x": "m"})
    plan = graph.output("s", "s").output("x", "x").output("note", "note").plan
    head = LocalHead(HeadExecutor(plan, asyncio.run(load_nodes(plan, plan.nodes, Path()))))
    asked = InferenceCore("demo", plan.signature, head, 3, RequestLimits())
    assert arrays(infer(asked)) == {"x": [[1, 2]]}
    assert arrays(infer(asked, {"x": X, "m": X})) == {"s": [[2, 4]], "x": [[1, 2]]}
    assert arrays(infer(asked, {"x": X, "note": np.array([b"a"], object)})) == {
        "x": [[1, 2]],
        "note": ["a"],
    }
    assert arrays(infer(asked, outputs=("s",))) == {}
    optional = {tensor.name: tensor.optional for tensor in asked.metadata().inputs}
    assert optional == {"x": False, "note": True, "m": True}
    takes = (
        r"takes x FP32\[rows, 2\], note BYTES\[rows\] \(optional\), m FP32\[rows, 2\] \(optional\)"
    )
    with pytest.raises(InvalidRequest, match=f"^missing input 'x': graph 'demo' {takes}$"):
        infer(asked, {"m": X})
    with pytest.raises(InvalidRequest, match="the size 'rows' must be the same"):
        infer(asked, {"x": X, "m": np.vstack([X, X])})
