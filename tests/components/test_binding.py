from __future__ import annotations

import asyncio
import pickle
import sys

import numpy as np
import pytest

from anabranch.components.binding import bind
from anabranch.components.contract import Context
from anabranch.errors import ArtefactError, LoadError

SOURCE = """
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from nowhere import Missing


class Plain:
    def __init__(self, by: float = 2.0) -> None:
        self.by = by

    def transform(self, x):
        return x * self.by


class Asks:
    def transform(self, x: np.ndarray, context):
        return np.array([context.id])


class Async:
    async def transform(self, x):
        return x


class Tensors:
    def transform(self, x: torch.Tensor, y: Missing):
        return type(x).__name__, type(y).__name__


class AsyncTensors:
    async def transform(self, x: torch.Tensor | None):
        return type(x).__name__


class TensorLists:
    def combine(self, inputs: list[torch.Tensor]):
        return [type(one).__name__ for one in inputs]


class ManyTensors:
    def transform(self, **inputs: torch.Tensor):
        return {key: type(one).__name__ for key, one in inputs.items()}


class Raises:
    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        raise RuntimeError("no such\\ndevice")

    def transform(self, x): ...


class Exits:
    def __init__(self) -> None:
        raise SystemExit("bye")


class Named:
    def combine(self, a, b):
        return a - b


class Context_first:
    def combine(self, context, inputs): ...


class Yields:
    def transform(self, x):
        yield x


class Hooked:
    def __init__(self):
        self.calls = []

    def load(self):
        self.calls.append("load")

    async def warmup(self):
        self.calls.append("warmup")

    def unload(self):
        self.calls.append("unload")

    def transform(self, x): ...
"""


@pytest.fixture
def transformer(bundle, node):
    root = bundle({"c.py": SOURCE})

    def make(name, **fields):
        fields = {"type": "transformer", "component": f"c.py:{name}", **fields}
        return bind("n", node(**fields), root)

    return make


def test_a_call_without_conversion_is_the_method_itself(transformer):
    bound = transformer("Plain", args={"by": 3.0})
    assert bound.call == bound.instance.transform
    assert (bound.node, bound.is_async, bound.wants_context) == ("n", False, False)
    assert bound.call(x=np.ones(2)).tolist() == [3, 3]


def test_context_and_async_are_seen(transformer):
    asks = transformer("Asks")
    assert asks.wants_context
    assert asks.call(x=np.ones(1), context=Context(id="abc")).tolist() == ["abc"]
    assert transformer("Async").is_async


def test_annotations_ask_for_tensors(transformer):
    pytest.importorskip("torch")
    both = {"x": "x", "y": "y"}
    array = np.ones(2)
    assert transformer("Tensors", inputs=both).call(x=array, y=array) == ("Tensor", "ndarray")
    bound = transformer("AsyncTensors")
    assert bound.is_async
    assert asyncio.run(bound.call(x=array)) == "Tensor"
    many = transformer("ManyTensors", inputs=both).call(x=array, y=array)
    assert many == {"x": "Tensor", "y": "Tensor"}
    listed = transformer("TensorLists", type="combiner", inputs=["a", "b"])
    assert listed.call([array, array]) == ["Tensor", "Tensor"]


def test_hooks_run_sync_or_async(transformer):
    bound = transformer("Hooked")
    asyncio.run(bound.load())
    asyncio.run(bound.check_health())
    asyncio.run(bound.unload())
    assert bound.instance.calls == ["load", "warmup", "unload"]


def test_combiners_take_lists_or_names(transformer):
    named = transformer("Named", type="combiner", inputs={"b": "b", "a": "a"})
    assert named.call(a=np.array(3), b=np.array(1)) == 2
    fields = {"type": "combiner", "component": None, "strategy": "concat"}
    mapped = transformer("", **fields, inputs={"b": "b", "a": "a"})
    assert mapped.call(a=np.array([3]), b=np.array([1])).tolist() == [1, 3]
    listed = transformer("", **fields, inputs=["b", "a"])
    assert listed.call([np.array([3]), np.array([1])]).tolist() == [3, 1]


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "Plain",
            {"inputs": {"y": "x"}},
            "needs 'x', which inputs does not give; inputs gives 'y'",
        ),
        ("Plain", {"inputs": {"x": "x", "xx": "x"}}, "inputs gives 'xx', which Plain.transform()"),
        ("Plain", {"args": {"bye": 1}}, "args gives 'bye'.*did you mean 'by'"),
        ("Plain", {"inputs": {"context": "x"}}, "reserved"),
        (
            "Plain",
            {"type": "predictor"},
            r"Plain has no method predict\(\), which a predictor needs",
        ),
        (
            "Raises",
            {},
            r"constructor of c.py:Raises raised RuntimeError: no such device \(c.py:56\)",
        ),
        ("Exits", {}, r"raised SystemExit: bye \(c.py"),
        ("Named", {"type": "combiner", "inputs": ["a", "b"]}, "must take one list first.*a, b"),
        ("Context_first", {"type": "combiner", "inputs": ["a"]}, "must take one list first"),
        ("Yields", {}, "must return its result, not yield"),
        ("", {"component": None}, "neither a component nor a built-in"),
        ("", {"component": None, "method": "sofmax"}, "did you mean 'softmax'"),
    ],
)
def test_what_does_not_fit_is_a_load_error_that_names_the_node(transformer, name, fields, message):
    with pytest.raises(LoadError, match=message.replace("transform()", r"transform\(\)")) as caught:
        transformer(name, **fields)
    assert str(caught.value).startswith("node 'n': ")
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_artefact_errors_name_the_node(bundle, node):
    missing = node(type="predictor", runtime="onnx", model="m.onnx")
    pytest.importorskip("onnxruntime")
    with pytest.raises(ArtefactError, match=r"node 'n': model 'm.onnx': there is no file"):
        bind("n", missing, bundle({"other.txt": ""}))


@pytest.mark.parametrize(
    ("runtime", "module"), [("sklearn", "sklearn"), ("torch", "torch"), ("onnx", "onnxruntime")]
)
def test_a_missing_extra_says_how_to_install_it(bundle, node, monkeypatch, runtime, module):
    monkeypatch.setitem(sys.modules, module, None)
    made = node(type="predictor", runtime=runtime, model="m")
    with pytest.raises(LoadError, match=rf"pip install 'anabranch\[{runtime}\]'"):
        bind("n", made, bundle({"m": ""}))
