"""Calls of nodes to shared models, over real arms; heads in this process stand for replicas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

import numpy as np
import pytest

from anabranch.components.contract import Context, NodeFeedback
from anabranch.errors import DeadlineExceeded, InvalidRequest, NodeError, StatusError, Unavailable
from anabranch.graph.compile.loading import load_text
from anabranch.graph.plan.plan import Signature
from anabranch.router.inference.contract import InferenceRequest
from anabranch.router.limits import RequestLimits
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.chosen_arm import ChosenArm
from anabranch.serve.shared.model_call import SharedModelCall
from anabranch.specs.models import InputSpec, TensorSpec
from anabranch.telemetry import definitions
from anabranch.telemetry.registry import REGISTRY
from tests.router.conftest import KEYS, StepHead

GRAPH = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: NAME}
spec:
  inputs: {rows: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    scorer: {type: predictor, model: "shared://fraud", inputs: {x: rows}}
  outputs: {y: scorer}
"""
SIGNATURE = Signature(
    {"x": InputSpec(datatype="FP32", shape=(-1, 2))},
    {"score": TensorSpec(datatype="FP32", shape=(-1,))},
    5.0,
)
FAILED = "node 'scorer' failed: shared://fraud"
ROWS = {"rows": np.array([[1, 2], [3, 4]], np.float32)}


class Local:
    """A shared model whose heads are steps in this process; it opens itself."""

    def __init__(self, steps: Mapping[int, Any], weights: Mapping[int, float]) -> None:
        self.heads = {number: StepHead(step) for number, step in steps.items()}
        self.arms = Arms("fraud", self.heads.__getitem__, RequestLimits())
        revisions = dict.fromkeys(steps, SIGNATURE)
        self.arms.apply(RoutingTable("fraud", 1, 1, weights, revisions=revisions, keys=KEYS))
        self.is_open = False

    async def open(self, name: str) -> Local:
        self.is_open = True
        return self

    async def close(self, name: str) -> None:
        self.is_open = False

    def choose(self, request: InferenceRequest, revision: int | None) -> ChosenArm:
        return self.arms.choose(request, revision)

    async def feedback(self, given: NodeFeedback, revision: int | None) -> None:
        await self.head(revision).feedback(given)

    def head(self, revision: int | None) -> StepHead:
        if (revision or 1) not in self.heads:
            raise Unavailable("no such revision")
        return self.heads[revision or 1]


async def total(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"score": inputs["x"].sum(axis=1)}


async def tenfold(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"score": 10 * inputs["x"].sum(axis=1)}


async def opened(model: Local, name: str = "pay", reference: str = "fraud") -> SharedModelCall:
    text = GRAPH.replace("NAME", name).replace("shared://fraud", f"shared://{reference}")
    call = SharedModelCall(load_text(text).plan, "scorer", None, cast(Any, model))
    await call.start()
    return call


def asked(model: Local, context: Context | None = None, **options: Any) -> Any:
    async def ask() -> Any:
        call = await opened(model, **options)
        return (await call(ROWS, ("scorer",), context or Context()))["scorer"]

    return asyncio.run(ask())


def counted(user: str, metric: definitions.MetricDefinition = definitions.MODEL_REQUESTS) -> Any:
    cells = REGISTRY.snapshot().get(metric.name, {})
    return {labels[1:]: value for labels, value in cells.items() if labels[2] == user}


def test_the_table_of_the_model_decides_and_pins_do_not() -> None:
    model = Local({1: total, 2: tenfold}, {1: 0.0, 2: 100.0})
    np.testing.assert_array_equal(asked(model)["score"], [30, 70])
    np.testing.assert_array_equal(asked(model, reference="fraud@1")["score"], [3, 7])
    report = model.arms.report()
    assert {number: arm.requests for number, arm in report.arms.items()} == {1: 0, 2: 1}


def test_a_reward_goes_to_the_model_unless_its_request_took_another_way() -> None:
    model = Local({1: total, 2: tenfold}, {1: 1.0})
    routed = GRAPH.replace("NAME", "learns").replace(
        "  outputs: {y: scorer}",
        "    other: {type: transformer, method: scale, args: {multiply_by: 2}, inputs: {x: rows}}\n"
        "    r: {type: router, strategy: weighted, routes: {scorer: 1, other: 1}}\n"
        "  outputs: {y: r}",
    )
    mine, others = (NodeFeedback("7", 1.0, path={"r": route}) for route in ("scorer", "other"))

    async def tell() -> list[bool]:
        call = SharedModelCall(load_text(routed).plan, "scorer", None, cast(Any, model))
        await call.start()
        held = await opened(model, reference="fraud@2")
        return [await call.feedback(mine), await call.feedback(others), await held.feedback(mine)]

    assert asyncio.run(tell()) == [True, True, True]
    assert [model.heads[number].rewards for number in (1, 2)] == [[mine], [mine]]


def test_calls_are_counted_by_user_and_revision() -> None:
    model = Local({1: total}, {1: 1.0})
    asked(model, name="counts")
    asked(model, name="counts")
    assert counted("counts") == {("1", "counts"): 2}
    assert counted("counts", definitions.MODEL_DURATION)["1", "counts"].number == 2


def test_what_is_no_traffic_is_not_counted() -> None:
    model = Local({1: total}, {1: 1.0})
    np.testing.assert_array_equal(
        asked(model, Context(is_traffic=False), name="warm")["score"], [3, 7]
    )
    assert counted("warm") == {}
    assert model.arms.report().arms[1].requests == 0


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (NodeError("model", "negative"), NodeError, f"{FAILED}: negative"),
        (StatusError("model", "gone", 410), StatusError, f"{FAILED}: gone"),
        (InvalidRequest("a shape"), NodeError, f"{FAILED}: a shape"),
        (Unavailable("fraud.r1 is down"), Unavailable, "fraud.r1 is down"),
        (DeadlineExceeded("late"), DeadlineExceeded, "late"),
    ],
)  # fmt: skip
def test_errors_name_the_node_and_the_model(
    error: Exception, kind: type[Exception], text: str
) -> None:
    async def failing(inputs: Mapping[str, Any], context: Context) -> Any:
        raise error

    name = f"fails-{type(error).__name__.lower()}"
    with pytest.raises(kind) as raised:
        asked(Local({1: failing}, {1: 1.0}), name=name)
    assert (type(raised.value), str(raised.value)) == (kind, text)
    kinds = counted(name, definitions.MODEL_ERRORS)
    assert kinds == {("1", name, type(error).__name__): 1}


def test_the_model_gets_what_is_left_of_the_time_and_the_parameters() -> None:
    model = Local({1: total}, {1: 1.0})
    parameters = {"explain": "why", "tier": "gold", "timeout": 1}
    context = Context("7", {"x-user": "ada"}, parameters, deadline=time.monotonic() + 60)
    context.tags["origin"] = "web"
    asked(model, context)

    (seen,) = model.heads[1].seen
    assert (seen.id, seen.headers, seen.parameters["tier"]) == ("7", {"x-user": "ada"}, "gold")
    assert "explain" not in seen.parameters
    assert dict(seen.tags) == {"origin": "web"}
    remaining = seen.remaining()
    assert remaining is not None and 0 < remaining <= 60


def test_a_call_that_has_no_time_left_fails_at_once() -> None:
    async def slow(inputs: Mapping[str, Any], context: Context) -> Any:
        await asyncio.sleep(60)

    with pytest.raises(DeadlineExceeded):
        asked(Local({1: slow}, {1: 1.0}), Context(deadline=time.monotonic() - 1))


def test_a_stream_comes_piece_by_piece() -> None:
    async def words(inputs: Mapping[str, Any], context: Context) -> AsyncGenerator[Any, None]:
        for row in inputs["x"]:
            yield {"score": row[:1]}

    async def read() -> list[float]:
        call = await opened(Local({1: words}, {1: 1.0}), name="streams")
        return [one["score"].item() async for one in call.stream(ROWS, "scorer", Context())]

    assert asyncio.run(read()) == [1.0, 3.0]
    assert counted("streams") == {("1", "streams"): 1}


def test_a_model_is_down_where_its_head_is_or_the_revision_is_not_there() -> None:
    async def look() -> None:
        model = Local({1: total}, {1: 1.0})
        call = await opened(model)
        found = [call.is_down]
        model.heads[1].why_not = "no replica is healthy"
        assert [*found, call.is_down] == [False, True]
        await call.close()
        assert not model.is_open
        with pytest.raises(Unavailable):
            await opened(model, reference="fraud@4")

    asyncio.run(look())
