"""Models with MLServer's contract in graphs, made of the package's own classes.

The package holds FastAPI below the version that Ray Serve needs, so it is in no extra and not in
the lock: `make test-mlserver` runs these tests in an environment that has it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.binding import bind
from anabranch.components.contract import Context
from anabranch.components.fitting import component_problems
from anabranch.errors import InvalidRequest, LoadError, NodeError, StatusError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the package uses names that its libraries have renamed
    mlserver = pytest.importorskip("mlserver")

SOURCE = """
import asyncio
import threading
from typing import AsyncIterator, List

import numpy as np
import pandas as pd
from mlserver import MLModel, log
from mlserver.codecs import NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec, decode_args
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from mlserver.utils import get_model_uri

SEEN = []


class Raw(MLModel):
    async def load(self) -> bool:
        self.factor = (self.settings.parameters.extra or {}).get("factor", 2)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        SEEN.append((payload, threading.current_thread().name))
        log(calls=1)
        (one,) = payload.inputs
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[
                ResponseOutput(
                    name="doubled", shape=one.shape, datatype=one.datatype,
                    data=[self.factor * value for value in one.data],
                )
            ],
        )


class Codecs(MLModel):
    async def predict(self, payload):
        text, = [one for one in payload.inputs if one.name == "text"]
        rows, = [one for one in payload.inputs if one.name == "rows"]
        words = self.decode(text, default_codec=StringCodec)
        array = self.decode(rows, default_codec=NumpyCodec)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("shout", [word.upper() for word in words]),
                NumpyCodec.encode_output("means", array.mean(axis=1)),
            ],
        )


class Arguments(MLModel):
    @decode_args
    async def predict(self, text: List[str], rows: np.ndarray) -> np.ndarray:
        return rows * len(text)


class Frames(MLModel):
    @decode_args
    async def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"sum": frame["a"] + frame["b"]})


class Content(MLModel):
    async def predict(self, payload):
        array = self.decode_request(payload, default_codec=NumpyRequestCodec)
        return self.encode_response(array + 1, default_codec=NumpyRequestCodec)


class Streams(MLModel):
    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for payload in payloads:
            words, = [StringCodec.decode_input(one) for one in payload.inputs]
            for word in words[0].split():
                yield InferenceResponse(
                    model_name=self.name, outputs=[StringCodec.encode_output("token", [word])]
                )


class Fails(MLModel):
    async def predict(self, payload):
        raise InferenceError("no such tensor")


class Breaks(MLModel):
    async def predict(self, payload):
        raise ValueError("no such tensor")


class Logs(MLModel):
    @decode_args
    async def predict(self, rows: np.ndarray) -> np.ndarray:
        log(rows=len(rows), sum=0.5, nan=float("nan"))
        return rows


class NotReady(MLModel):
    async def load(self):
        return False

    async def predict(self, payload): ...


class Answers(MLModel):
    answer = None

    async def predict(self, payload):
        return type(self).answer


class Path(MLModel):
    async def load(self):
        SEEN.append(await get_model_uri(self.settings, wellknown_filenames=["model.json"]))
        return True

    async def predict(self, payload): ...

    async def unload(self):
        SEEN.append("unloaded")
        return True


class NothingHere(MLModel):
    async def infer(self, payload): ...


class Synchronous(MLModel):
    def predict(self, payload): ...


class NotDerived:
    def __init__(self, settings): ...

    async def predict(self, payload): ...
"""
ROWS = np.array([[1.0, 2.0], [3.0, 4.0]])

Make = Callable[..., Graph]


@pytest.fixture
def root(bundle: Any) -> Path:
    return bundle({"m.py": SOURCE, "weights/model.json": "{}"})  # type: ignore[no-any-return]


@pytest.fixture
def graph(root: Path) -> Make:
    """Make a graph of one model, with an input for each of its node's."""

    def make(cls: str, inputs: dict[str, tuple[str, list[int]]], **fields: Any) -> Graph:
        found = Graph("g", root=root)
        for name, (datatype, shape) in inputs.items():
            found.input(f"given-{name}", datatype, shape)
        sources = {name: f"given-{name}" for name in inputs}
        return found.predictor(
            "m", component=f"m.py:{cls}", contract="mlserver", inputs=sources, **fields
        )

    return make


def seen() -> list[Any]:
    found: Any = next(
        one for name, one in sys.modules.items() if name.endswith(".m") and hasattr(one, "SEEN")
    )
    return found.SEEN  # type: ignore[no-any-return]


NUMBERS = {"rows": ("FP64", [-1, -1])}
MIXED = {"text": ("BYTES", [-1]), **NUMBERS}
GIVEN = {"given-text": np.array(["a", "bé"], object), "given-rows": ROWS}


def test_a_request_is_what_the_rest_server_makes(graph: Make, evaluate: Any) -> None:
    context = Context(id="7", headers={"x-team": "fruit"}, parameters={"k": 1, "headers": "x"})
    built = graph("Raw", NUMBERS, args={"parameters": {"extra": {"factor": 3}}})
    found = evaluate(built.output("y", "m.doubled"), {"given-rows": ROWS}, context)
    assert found["y"].tolist() == (ROWS * 3).tolist()
    ((request, thread),) = seen()
    assert isinstance(request, mlserver.types.InferenceRequest)
    assert json.loads(request.model_dump_json()) == {
        "id": "7",
        "parameters": {"k": 1, "headers": {"x-team": "fruit"}},
        "inputs": [
            {"name": "rows", "shape": [2, 2], "datatype": "FP64", "data": [1.0, 2.0, 3.0, 4.0]}
        ],
    }
    assert thread == "anabranch-mlserver-m"


def test_a_parameter_of_another_type_is_the_client_s_mistake(graph: Make, evaluate: Any) -> None:
    built = graph("Raw", NUMBERS).output("y", "m.doubled")
    context = Context(parameters={"content_type": 5, "self": 1})
    with pytest.raises(InvalidRequest, match="content_type"):
        evaluate(built, {"given-rows": ROWS}, context)


def test_declared_outputs_are_asked_for(graph: Make, evaluate: Any) -> None:
    outputs = {"doubled": ("FP64", [-1, -1])}
    evaluate(graph("Raw", NUMBERS, outputs=outputs).output("y", "m"), {"given-rows": ROWS})
    assert [one.name for one in seen()[0][0].outputs] == ["doubled"]


def test_codecs_decode_and_encode(graph: Make, evaluate: Any) -> None:
    built = graph("Codecs", MIXED).output("shout", "m.shout").output("means", "m.means")
    found = evaluate(built, GIVEN)
    assert found["shout"].tolist() == [["A"], ["BÉ"]]
    assert found["means"].tolist() == [[1.5], [3.5]]


@pytest.mark.parametrize("segmented", [False, True])
def test_arguments_are_decoded(graph: Make, evaluate: Any, segmented: bool) -> None:
    built = graph("Arguments", MIXED, placement={"isolate": True}).output("y", "m")
    assert evaluate(built, GIVEN, segmented=segmented)["y"].tolist() == (ROWS * 2).tolist()


def test_frames_are_inputs_by_column(graph: Make, evaluate: Any) -> None:
    columns = {"a": ("INT64", [-1, 1]), "b": ("INT64", [-1, 1])}
    built = graph("Frames", columns).output("y", "m.sum")
    given = {"given-a": np.array([[1], [2]]), "given-b": np.array([[10], [20]])}
    assert evaluate(built, given)["y"].ravel().tolist() == [11, 22]


def test_content_types_of_the_settings_count(graph: Make, evaluate: Any) -> None:
    args = {"parameters": {"content_type": "np"}, "inputs": [
        {"name": "rows", "datatype": "FP64", "shape": [-1, 2], "parameters": {"content_type": "np"}}
    ]}  # fmt: skip
    built = graph("Content", NUMBERS, args=args).output("y", "m")
    assert evaluate(built, {"given-rows": ROWS})["y"].tolist() == (ROWS + 1).tolist()


@pytest.mark.parametrize("method", [None, "predict_stream"])
def test_a_stream_comes_response_by_response(graph: Make, method: str | None) -> None:
    from anabranch.graph.execute.executor import HeadExecutor
    from anabranch.graph.execute.nodes import load_nodes, unload_nodes

    built = graph("Streams", {"text": ("BYTES", [1])}, method=method).output("y", "m")

    async def main() -> list[Any]:
        bound = await load_nodes(built.plan, built.plan.nodes, built.root)
        executor = HeadExecutor(built.plan, bound)
        try:
            given = {"given-text": np.array(["one two three"], object)}
            return [each["y"].item() async for each in executor.stream(given, Context())]
        finally:
            executor.close()
            await unload_nodes(bound, built.root)

    assert asyncio.run(main()) == ["one", "two", "three"]


def test_an_error_names_the_node(graph: Make, evaluate: Any) -> None:
    with pytest.raises(NodeError, match=r"'m' failed: ValueError: no such tensor \(m\.py:\d+"):
        evaluate(graph("Breaks", NUMBERS).output("y", "m"), {"given-rows": ROWS})


def test_an_error_of_mlserver_s_has_its_status(graph: Make, evaluate: Any) -> None:
    with pytest.raises(StatusError, match=r"'m' failed: no such tensor$") as raised:
        evaluate(graph("Fails", NUMBERS).output("y", "m"), {"given-rows": ROWS})
    assert raised.value.status == 400


def test_what_a_model_logs_are_measures(graph: Make, evaluate: Any) -> None:
    context = Context()
    for _ in range(2):
        evaluate(graph("Logs", NUMBERS).output("y", "m"), {"given-rows": ROWS}, context)
    found = [(one.node, one.kind, one.name, one.value) for one in context.annotations.measures]
    assert found == [("m", "gauge", "rows", len(ROWS)), ("m", "gauge", "sum", 0.5)] * 2


def test_a_model_that_is_not_ready_is_not_loaded(graph: Make, evaluate: Any) -> None:
    with pytest.raises(LoadError, match=r"'m': load\(\) returned False: the model is not ready"):
        evaluate(graph("NotReady", NUMBERS).output("y", "m"), {"given-rows": ROWS})


def test_a_model_may_become_unwell(root: Path, node: Any) -> None:
    given = node(type="predictor", component="m.py:Raw", contract="mlserver")

    async def main() -> None:
        bound = bind("m", given, root)
        await bound.load()
        await bound.check_health()
        bound.instance._model.ready = False
        try:
            with pytest.raises(RuntimeError, match="not ready"):
                await bound.check_health()
        finally:
            await bound.unload()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"parameters": {"uri": "./weights"}}, "weights/model.json"),
        ({"parameters": {"uri": "weights/model.json"}}, "weights/model.json"),
        ({}, ""),
    ],
)
def test_paths_start_from_the_bundle(root: Path, node: Any, args: Any, expected: str) -> None:
    given = node(type="predictor", component="m.py:Path", contract="mlserver", args=args)

    async def main() -> None:
        bound = bind("m", given, root)
        await bound.load()
        await bound.unload()

    asyncio.run(main())
    assert seen() == [str(root / expected), "unloaded"]


def output(datatype: str, shape: list[int], data: Any, name: str = "y") -> Any:
    return mlserver.types.ResponseOutput(name=name, datatype=datatype, shape=shape, data=data)


def response(*outputs: Any) -> Any:
    return mlserver.types.InferenceResponse(model_name="m", outputs=list(outputs))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda: response(output("INT8", [2], [1, -1])), [1, -1]),
        (lambda: response(output("INT8", [2, 1], [[1], [-1]])), [[1], [-1]]),
        (lambda: response(output("BOOL", [1], [True])), [True]),
        (lambda: response(output("FP16", [1], [0.5])), [0.5]),
        (lambda: response(output("BYTES", [2], ["a", "b"])), ["a", "b"]),
        (lambda: response(output("BYTES", [1], [b"\xff"])), [b"\xff"]),
        (lambda: response(output("BYTES", [2, 1], [b"abcd"])), [[b"ab"], [b"cd"]]),
        (lambda: response(output("FP64", [0, 3], [])), []),
        (lambda: response(mlserver.codecs.NumpyCodec.encode_output("y", np.array([b"ab", b"c"]))),
         [[b"ab"], [b"c"]]),
        (lambda: None, r"returned None; expected an InferenceResponse"),
        (lambda: [1], r"returned \[1\]; expected an InferenceResponse"),
        (lambda: response(output("INT8", [3], [1])), r"output 'y' is no INT8 of \[3\]"),
        (lambda: response(output("INT8", [1], [300])), r"output 'y' is no INT8"),
        (lambda: response(output("BYTES", [3], ["a"])), r"'y' has 1 texts for the shape \[3\]"),
        (lambda: response(output("INT8", [1], [1]), output("INT8", [1], [1])), "two outputs"),
        (lambda: response(), "returned an empty dict"),
    ],
)  # fmt: skip
def test_responses_become_tensors(graph: Make, evaluate: Any, answer: Any, expected: Any) -> None:
    built = graph("Answers", NUMBERS).output("y", "m")
    built.plan  # noqa: B018 - compiled here, so that the class below is the one that is loaded
    source = (built.root / "m.py").read_text()
    assert "answer = None" in source
    from anabranch.components.source.classes import load_class

    load_class("m.py:Answers", built.root).answer = answer()  # type: ignore[attr-defined]
    if isinstance(expected, str):
        with pytest.raises(NodeError, match=expected):
            evaluate(built, {"given-rows": ROWS})
    else:
        assert evaluate(built, {"given-rows": ROWS})["y"].tolist() == expected


@pytest.mark.parametrize(
    ("cls", "fields", "words", "is_seen"),
    [
        ("NothingHere", {}, r"no method predict\(\) or predict_stream\(\), which MLServer's", True),
        ("Raw", {"method": "predict_stream"}, r"no method predict_stream\(\)", True),
        ("Synchronous", {}, r"Synchronous.predict\(\) must be a coroutine function", True),
        ("NotDerived", {}, "not derived from mlserver.MLModel", False),
        ("Raw", {"args": {"implementation": "m.M"}}, "args.implementation: .*`component`", False),
        ("Raw", {"args": {"parameter": {}}}, "args.parameter: .*'parameters'", False),
        ("Raw", {"args": {"parameters": {"uri": 5}}}, "args: .*uri", False),
        ("Raw", {}, None, False),
        ("Arguments", {}, None, False),
        ("Streams", {}, None, False),
    ],
)
def test_what_is_no_model_is_refused(
    root: Path, node: Any, cls: str, fields: Any, words: str | None, is_seen: bool
) -> None:
    given = node(type="predictor", component=f"m.py:{cls}", contract="mlserver", **fields)
    found = [text for _, text in component_problems(given, root)]
    assert bool(found) is is_seen
    if words is None:
        bind("m", given, root)
        return
    with pytest.raises(LoadError, match=words):
        bind("m", given, root)
