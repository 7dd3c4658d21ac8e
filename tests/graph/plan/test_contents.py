"""The same text gives the same answer, whichever way it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import InvalidRequest
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.graph.explain.answers import key_of
from anabranch.graph.observe.monitor_copies import Seen
from anabranch.graph.plan.plan import Plan, Signature
from anabranch.monitors.table import table_of
from anabranch.router.grpc.codec import decode_request as decode_message
from anabranch.router.grpc.messages import InferRequest
from anabranch.router.inference.contract import InferenceRequest
from anabranch.router.inference.core import InferenceCore
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.decode import decode_body
from anabranch.router.oip.raw_tensors import encode_raw
from anabranch.router.request_log import entries
from anabranch.router.request_log.entries import LogRule
from anabranch.router.request_log.tensors import encode_tensor
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.local_head import LocalHead
from anabranch.specs.models import InputSpec
from tests.examples import examples
from tests.router.conftest import StepHead, double, make_table
from tests.router.tensors import texts

sklearn = pytest.importorskip("sklearn")
joblib = pytest.importorskip("joblib")

from sklearn.linear_model import LinearRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder  # noqa: E402

COMPONENTS = """
import numpy as np


class Kinds:
    def transform(self, **inputs):
        elements = [one for name in sorted(inputs) for one in inputs[name].ravel()]
        return np.array([f"{type(one).__name__} {one!r}" for one in elements], object)


class AsBytes:
    def predict(self, x):
        return np.array([one.encode() for one in x.ravel()], object).reshape(x.shape)


class Says:
    def __init__(self, word):
        self.word = word

    def predict(self, x):
        return np.array([self.word])


class Reads:
    def explain(self, x):
        return {"read": [repr(one) for one in x.ravel()]}
"""
LIMITS = RequestLimits()
WORDS = ["go", "red", "blue", "é"]


def objects(elements: list[Any], *shape: int) -> Any:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape or (-1,))


def make_graph(root: Path) -> Graph:
    (root / "components.py").write_text(COMPONENTS)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LinearRegression())
    model.fit(objects(WORDS * 2, -1, 1), np.arange(8))
    joblib.dump(model, root / "model.joblib")
    graph = Graph("demo", root=root).input("text", "BYTES", [-1, 1])
    graph.input("raw", "BYTES", [-1], content="raw")
    own = "components.py:"
    graph.transformer("kinds", component=own + "Kinds", inputs={"a": "text", "b": "raw"})
    graph.predictor("number", runtime="sklearn", model="model.joblib", inputs={"x": "text"})
    graph.predictor("bytes", component=own + "AsBytes", inputs={"x": "text"})
    graph.predictor("again", runtime="sklearn", model="model.joblib", inputs={"x": "bytes"})
    graph.predictor("other", component=own + "Says", args={"word": "w"}, inputs={"x": "text"})
    for word in ("went", "stayed"):
        graph.predictor(word, component=own + "Says", args={"word": word}, inputs={"x": "text"})
    rules = [{"when": "inputs.x[0][0] == 'go'", "to": "went"}]
    graph.router("way", strategy="rules", rules=rules, otherwise="stayed", inputs={"x": "text"})
    graph.explainer("why", component=own + "Reads", explains="number")
    for name in ("kinds", "number", "again", "way"):
        graph.output(name, name)
    return graph.monitor("watch", method="sketch", watches=["text"], window=50)


class Asked:
    """A graph, asked as a router does, and all that reads its requests."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.seen: list[Seen] = []
        self._loop = asyncio.new_event_loop()
        self._executor = self._loop.run_until_complete(self._loaded(graph.plan))
        self._arms = Arms("demo", lambda revision: LocalHead(self._executor), LIMITS)
        self._arms.apply(make_table(revisions={3: graph.plan.signature}))

    async def _loaded(self, plan: Plan) -> HeadExecutor:
        names = [name for name in plan.nodes if name != "why"]
        bound = await load_nodes(plan, names, self.graph.root)
        return HeadExecutor(plan, bound, offer=lambda one, size: self.seen.append(one))

    def answers(self, request: InferenceRequest) -> dict[str, Any]:
        asked = self._arms.infer(request, lambda response: b"")
        response, _ = self._loop.run_until_complete(asked)
        return {one.name: one.array.tolist() for one in response.outputs}

    def log(self, request: InferenceRequest) -> list[dict[str, Any]]:
        rule = LogRule(known=tuple(request.inputs))
        return list(map(encode_tensor, entries.begin(rule, "demo", 3, request).inputs))

    def watched(self) -> list[list[str]]:
        table = table_of({"text": self.seen.pop().array})
        return [column.tolist() for column in table.columns]

    def close(self) -> None:
        self._executor.close()
        self._loop.close()
        self.graph.close()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    found = Asked(make_graph(tmp_path_factory.mktemp("texts")))
    yield found
    found.close()


def as_bytes(array: Any) -> list[bytes]:
    return [one.encode() if isinstance(one, str) else one for one in array.ravel()]


Door = Callable[[dict[str, Any]], InferenceRequest]


def by_json(tensors: dict[str, Any]) -> InferenceRequest:
    inputs = [
        {
            "name": name,
            "datatype": "BYTES",
            "shape": array.shape,
            "data": [one.decode() for one in as_bytes(array)],
        }
        for name, array in tensors.items()
    ]
    return decode_body(json.dumps({"inputs": inputs}).encode(), None, LIMITS, tuple).request


def by_binary_tensors(tensors: dict[str, Any]) -> InferenceRequest:
    raw = {name: encode_raw(array, "BYTES") for name, array in tensors.items()}
    inputs = [
        {
            "name": name,
            "datatype": "BYTES",
            "shape": array.shape,
            "parameters": {"binary_data_size": len(raw[name])},
        }
        for name, array in tensors.items()
    ]
    head = json.dumps({"inputs": inputs}).encode()
    return decode_body(head + b"".join(raw.values()), len(head), LIMITS, tuple).request


def by_grpc_contents(tensors: dict[str, Any]) -> InferenceRequest:
    message = InferRequest(model_name="demo")
    for name, array in tensors.items():
        tensor = message.inputs.add(name=name, datatype="BYTES", shape=array.shape)
        tensor.contents.bytes_contents.extend(as_bytes(array))
    return decode_message(message.SerializeToString(), LIMITS).request


def by_raw_grpc(tensors: dict[str, Any]) -> InferenceRequest:
    message = InferRequest(model_name="demo")
    for name, array in tensors.items():
        message.inputs.add(name=name, datatype="BYTES", shape=array.shape)
        message.raw_input_contents.append(encode_raw(array, "BYTES"))
    return decode_message(message.SerializeToString(), LIMITS).request


DOORS: list[Door] = [by_json, by_binary_tensors, by_grpc_contents, by_raw_grpc]


@settings(max_examples=examples(100))
@given(
    st.lists(st.sampled_from(WORDS) | texts, min_size=1, max_size=4),
    st.lists(texts | st.binary(max_size=4), max_size=4),
)
def test_every_way_gives_the_same_answer(asked: Asked, text: list[str], raw: list[Any]) -> None:
    tensors = {"text": objects(text, -1, 1), "raw": objects(raw)}
    expected = {name: array.tolist() for name, array in asked.graph.run(tensors).items()}
    kinds = [f"str {one!r}" for one in text] + [f"bytes {one!r}" for one in as_bytes(objects(raw))]
    assert expected["kinds"] == kinds
    assert expected["again"] == expected["number"]
    assert expected["way"] == ["went" if text[0] == "go" else "stayed"]
    encoded = {"text": objects(as_bytes(tensors["text"]), -1, 1), "raw": tensors["raw"]}
    assert {k: v.tolist() for k, v in asked.graph.run(encoded).items()} == expected
    is_json = all(isinstance(one, str) or is_utf8(one) for one in raw)
    keys, logs = set(), []
    for door in DOORS if is_json else DOORS[1:]:
        request = door(tensors)
        logs.append(asked.log(request))
        assert asked.answers(request) == expected
        assert asked.watched() == [[one[:256].rstrip("\0") for one in text]]
        keys.add(key_of(request.inputs, Context(), reads_request=False))
    assert len(keys) == 1
    assert all(log == logs[0] for log in logs)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_an_explainer_reads_what_the_model_reads(asked: Asked) -> None:
    raw = objects([])
    one = asked.graph.explain({"text": objects(["go"], 1, 1), "raw": raw}, explainer="why")
    other = asked.graph.explain({"text": objects([b"go"], 1, 1), "raw": raw}, explainer="why")
    assert one["explanations"] == other["explanations"]
    assert "'go'" in str(one["explanations"])


@pytest.mark.parametrize("door", DOORS[1:])
def test_a_text_that_is_none_is_the_caller_s_mistake(asked: Asked, door: Door) -> None:
    tensors = {"text": objects(["go", b"\xff"], 2, 1), "raw": objects([b"\xff"])}
    for ask in (lambda: asked.answers(door(tensors)), lambda: asked.graph.run(tensors)):
        with pytest.raises(InvalidRequest) as raised:
            ask()
        assert str(raised.value) == (
            "input 'text': element 1 is not text in UTF-8; only an input with `content: raw` in "
            "the graph's spec takes other bytes"
        )


def test_raw_bytes_need_bytes_of_a_text(asked: Asked) -> None:
    with pytest.raises(InvalidRequest, match="input 'raw': element 0 is not text in UTF-8; send"):
        asked.graph.run({"text": objects(["go"], 1, 1), "raw": objects(["\ud800"])})


def test_each_revision_gets_a_request_as_it_declares_it() -> None:
    request = by_raw_grpc({"x": objects(["é"])})
    for content, element in (("text", "é"), ("raw", "é".encode()), ("text", "é")):
        spec = InputSpec(datatype="BYTES", shape=(-1,), content=content)
        signature = Signature({"x": spec}, {}, 60.0)
        InferenceCore("demo", signature, StepHead(double), 3, LIMITS).check(request)
        assert request.inputs["x"].tolist() == [element]
