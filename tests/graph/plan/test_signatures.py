"""What models know of their tensors is held against the graph before the first request."""

from __future__ import annotations

import json

import pytest

from anabranch.components.source import roots
from anabranch.components.tensors.model_types import ModelTensor
from anabranch.errors import LoadError
from anabranch.graph.compile.loading import load_data
from anabranch.graph.local import LocalGraph
from anabranch.specs.models import TensorSpec

SOURCE = """
from pathlib import Path

from anabranch.components.tensors.model_types import ModelTensor

def tensor(datatype, shape):
    return ModelTensor(datatype, None if shape is None else tuple(shape))

class Model:
    def __init__(self, takes=None, gives=None):
        self.input_types = {name: tensor(*one) for name, one in (takes or {}).items()}
        self.output_types = {name: tensor(*one) for name, one in (gives or {}).items()}

    def predict(self, x):
        return x

class Marks(Model):
    def unload(self):
        Path(__file__).with_name("unloaded").touch()

class Knows:
    def predict(self, x):
        return x
"""


@pytest.mark.parametrize(
    ("datatype", "shape", "agrees"),
    [
        (None, None, True),
        ("FP32", None, True),
        ("FP64", None, False),
        (None, (-1, 4), True),
        ("FP32", (2, -1), True),
        ("FP32", (-1, -1), True),
        (None, (-1, 3), False),
        (None, (3, 4), False),
        (None, (-1,), False),
        (None, (), False),
    ],
)
def test_what_agrees(datatype, shape, agrees):
    spec = TensorSpec(datatype="FP32", shape=(2, 4))
    open_ended = TensorSpec(datatype="FP32", shape=(-1, -1))
    assert ModelTensor(datatype, shape).agrees(spec) is agrees
    if shape is None or len(shape) == 2:
        assert ModelTensor(datatype, shape).agrees(open_ended) is (datatype != "FP64")


def test_what_is_known_in_words():
    known = [
        ModelTensor(),
        ModelTensor("FP32"),
        ModelTensor(None, (-1, 4)),
        ModelTensor("BOOL", ()),
    ]
    assert [str(one) for one in known] == ["any tensor", "FP32", "any datatype[-1, 4]", "BOOL[]"]


@pytest.fixture
def load(tmp_path):
    (tmp_path / "model.py").write_text(SOURCE)

    def make(cls="Model", outputs=None, behind=False, **args):
        model = {"type": "predictor", "component": f"model.py:{cls}", "inputs": {"x": "x"}}
        nodes = {"model": {**model, "args": args}}
        if outputs is not None:
            nodes["model"]["outputs"] = outputs
        if behind:
            nodes["first"] = {"type": "transformer", "method": "cast", "inputs": {"x": "x"}}
            nodes["first"]["args"] = {"datatype": "FP64"}
            nodes["model"]["inputs"] = {"x": "first"}
        data = {
            "apiVersion": "anabranch/v1",
            "kind": "InferenceGraph",
            "metadata": {"name": "g"},
            "spec": {
                "inputs": {"x": {"datatype": "FP32", "shape": [-1, 4]}},
                "nodes": nodes,
                "outputs": {"y": "model" if len(outputs or ()) < 2 else f"model.{min(outputs)}"},
            },
        }
        loaded = load_data(json.loads(json.dumps(data)), tmp_path)
        LocalGraph(loaded.plan, loaded.root).close()

    yield make
    roots.forget(tmp_path)


FP32 = {"datatype": "FP32", "shape": [-1, 2]}


@pytest.mark.parametrize(
    "fields",
    [
        {"cls": "Knows"},
        {"takes": {"x": ("FP32", (-1, 4))}},
        {"takes": {"other": ("BOOL", ())}},
        {"takes": {"x": ("FP64", None)}, "behind": True},
        {"gives": {"any": ("FP32", (-1, 2))}, "outputs": {"y": FP32}},
        {"gives": {"a": ("FP32", None), "b": (None, None)}, "outputs": {"b": FP32, "a": FP32}},
        {"gives": {"a": ("FP32", None), "b": (None, None)}},
    ],
)
def test_models_that_fit(load, fields):
    load(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"takes": {"x": ("FP64", (-1, 4))}},
         r"input 'x' is FP32\[-1, 4\], but the model takes FP64\[-1, 4\]"),
        ({"takes": {"x": (None, (-1, 3))}},
         r"input 'x' is FP32\[-1, 4\], but the model takes any datatype\[-1, 3\]"),
        ({"takes": {"x": ("FP32", None)}, "behind": True},
         r"input 'x' is FP64\[-1, 4\], but the model takes FP32$"),
        ({"gives": {"any": ("FP32", (-1,))}, "outputs": {"y": FP32}},
         r"output 'y' is FP32\[-1, 2\], but the model gives FP32\[-1\]"),
        ({"gives": {"a": ("FP32", None), "b": (None, None)}, "outputs": {"b": FP32, "c": FP32}},
         "the model gives a, b, the node's outputs are b, c"),
        ({"gives": {"a": ("FP32", None), "b": (None, None)}, "outputs": {"b": FP32}},
         "the model gives a, b, the node's outputs are b"),
    ],
)  # fmt: skip
def test_models_that_do_not_fit_are_errors_of_loading(load, fields, message):
    with pytest.raises(LoadError, match=rf"^node 'model': {message}"):
        load(**fields)


def test_what_was_loaded_is_let_go_where_the_graph_does_not_load(load, tmp_path):
    with pytest.raises(LoadError):
        load(cls="Marks", takes={"x": ("FP64", None)})
    assert (tmp_path / "unloaded").exists()
