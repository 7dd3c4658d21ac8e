"""The runtime ``mlflow`` on models that MLflow saved: what a signature asks for, what it gives."""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

from anabranch.components.binding import bind
from anabranch.components.contract import Context
from anabranch.components.tensors.model_types import ModelTensor
from anabranch.errors import ArtefactError, InvalidRequest, LoadError

pytest.importorskip("sklearn")

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

pytestmark = [
    pytest.mark.slow,  # mlflow takes seconds to import
    pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed"),
    pytest.mark.filterwarnings("ignore"),  # of the libraries, when they save a model
]

FRAME, Y = load_iris(return_X_y=True, as_frame=True)
X = FRAME.to_numpy()
PLAIN = [name.replace(" ", "_").replace("(", "_").replace(")", "_") for name in FRAME.columns]


WAYS = {
    "same": lambda given: given,
    "list": lambda given: [float(row.sum()) for row in given],
    "texts": lambda given: [f"row {index}" for index in range(len(given))],
    "series": lambda given: FRAME.iloc[: len(given)].sum(axis=1),
    "one column": lambda given: FRAME.iloc[: len(given)].sum(axis=1).to_frame(),
    "dict": lambda given: {"a": given, "b b": given.sum(axis=1)},
    "kind": lambda given: [type(given).__name__],
}


def models():
    """Made here, for MLflow imports slowly and warns where such classes are defined."""
    import pandas as pd
    from mlflow.pyfunc import PythonModel

    class Mixed(PythonModel):
        """Takes columns of every kind, one of them optional, and a parameter."""

        def predict(self, context, model_input, params=None):
            factor = (params or {}).get("factor", 1.0)
            extra = model_input.get("extra", 0.0)
            return pd.DataFrame(
                {
                    "scaled value": model_input["size"] * factor + extra,
                    "text": model_input["kind"] + "!",
                    "types": [",".join(str(model_input[one].dtype) for one in model_input)]
                    * len(model_input),
                }
            )

    class Echo(PythonModel):
        """Returns what it is given, in the way that it is told."""

        def __init__(self, way):
            self.way = way

        def predict(self, context, model_input, params=None):
            return WAYS[self.way](model_input)

    return Mixed, Echo


def schema(*columns):
    from mlflow.types import ColSpec, Schema

    return Schema([ColSpec(kind, name, required) for kind, name, required in columns])


def tensors(*specs):
    from mlflow.types import Schema, TensorSpec

    return Schema([TensorSpec(np.dtype(kind), shape, name) for kind, shape, name in specs])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.sklearn
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ParamSchema, ParamSpec
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    folder = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings(record=True):  # MLflow shows its own whatever the filters say
        mixed, echo = models()

    def pyfunc(name, model, inputs=None, params=None):
        signature = None
        if inputs is not None or params is not None:
            signature = ModelSignature(inputs=inputs, params=params)
        mlflow.pyfunc.save_model(
            folder / name, python_model=model, signature=signature, pip_requirements=["mlflow"]
        )

    line = LogisticRegression(max_iter=500).fit(FRAME, Y)
    bare = LogisticRegression(max_iter=500).fit(X, Y)
    for name, model, given in (("columns", line, FRAME), ("tensor", bare, X)):
        signature = infer_signature(given, model.predict(given))
        mlflow.sklearn.save_model(
            model, folder / name, signature=signature, pip_requirements=["scikit-learn"]
        )
    columns = schema(("float", "size", True), ("string", "kind", True), ("double", "extra", False))
    params = ParamSchema([ParamSpec("factor", "double", 1.0), ParamSpec("name", "string", "a")])
    pyfunc("mixed", mixed(), columns, params)
    pyfunc("unsigned", echo("same"))
    pyfunc("kind", echo("kind"))
    two = tensors(("float32", (-1, 2), "left"), ("int64", (-1,), "right in"))
    pyfunc("two", echo("same"), two)
    pyfunc("one", echo("same"), schema(("double", "only", True)))
    for way in ("list", "texts", "series", "one column", "dict"):
        pyfunc(way, echo(way), tensors(("float64", (-1, 4), None)))
    nested = Schema([ColSpec(Array(DataType.double), "many")])
    pyfunc("nested", echo("same"), nested)
    (folder / "empty").mkdir()
    broken = folder / "broken"
    broken.mkdir()
    (broken / "MLmodel").write_text("flavors: {sklearn: {}}\n")
    return folder


@pytest.fixture
def predictor(node, root):
    def make(model, *inputs):
        fields = {"inputs": dict.fromkeys(inputs, "x")} if inputs else {}
        return bind("n", node(type="predictor", runtime="mlflow", model=model, **fields), root)

    return make


def itself(root, model):
    import mlflow

    return mlflow.pyfunc.load_model(str(root / model))


def test_columns_as_one_matrix(predictor, root):
    bound = predictor("columns")
    assert not bound.wants_context
    expected = itself(root, "columns").predict(FRAME)
    np.testing.assert_array_equal(bound.call(x=X), expected)
    np.testing.assert_array_equal(bound.call(x=X.astype(np.float32)), expected)
    with pytest.raises(ValueError, match=r"shape \[150, 3\], expected \[-1, 4\]: a column"):
        bound.call(x=X[:, :3])


@pytest.mark.parametrize("model", ["columns", "tensor"])
def test_no_rows_are_the_caller_s_mistake_where_a_model_needs_some(predictor, model):
    with pytest.raises(InvalidRequest, match="takes at least one row, got none"):
        predictor(model).call(x=X[:0])


def test_no_rows_are_answered_by_a_model_that_takes_them(predictor):
    assert predictor("one").call(x=X[:0, 0]).shape == (0,)


def test_columns_by_name_in_any_order(predictor, root):
    bound = predictor("columns", *reversed(PLAIN))
    expected = itself(root, "columns").predict(FRAME)
    columns = {name: X[:, index] for index, name in enumerate(PLAIN)}
    np.testing.assert_array_equal(bound.call(**columns), expected)
    tall = {name: column[:, None] for name, column in columns.items()}
    np.testing.assert_array_equal(bound.call(**tall), expected)
    with pytest.raises(ValueError, match=rf"'{PLAIN[1]}' has shape \[2, 2\], expected \[-1\] or"):
        bound.call(**columns | {PLAIN[1]: X[:2, :2]})


def test_tensors(predictor, root):
    bound = predictor("tensor")
    np.testing.assert_array_equal(bound.call(x=X), itself(root, "tensor").predict(X))
    with pytest.raises(ValueError, match="input 'x' has datatype FP32, expected FP64"):
        bound.call(x=X.astype(np.float32))
    with pytest.raises(ValueError, match=r"input 'x' has shape \[150, 3\], expected \[-1, 4\]"):
        bound.call(x=X[:, :3])


def test_what_the_signature_knows_of_the_inputs(predictor):
    assert predictor("tensor").instance.input_types == {"x": ModelTensor("FP64", (-1, 4))}
    assert predictor("columns").instance.input_types == {"x": ModelTensor(None, (-1, 4))}
    assert predictor("columns", *PLAIN).instance.input_types == {}
    two = predictor("two", "right_in", "left").instance.input_types
    assert two == {"left": ModelTensor("FP32", (-1, 2)), "right_in": ModelTensor("INT64", (-1,))}


def test_named_tensors(predictor):
    left, right = np.ones((2, 2), np.float32), np.arange(2)
    found = predictor("two", "right_in", "left").call(left=left, right_in=right)
    np.testing.assert_array_equal(found["left"], left)
    np.testing.assert_array_equal(found["right_in"], right)


def test_columns_of_several_kinds_and_a_parameter(predictor):
    bound = predictor("mixed", "size", "kind")
    assert bound.wants_context
    columns = {"size": np.array([1, 2], np.float32), "kind": np.array([b"a", "b"], object)}
    found = bound.call(**columns, context=Context(parameters={"factor": 3.0, "name": None, "a": 1}))
    assert found["scaled_value"].tolist() == [3, 6]
    assert found["text"].tolist() == ["a!", "b!"]
    assert found["types"][0].startswith("float32,")
    default = bound.call(**columns, context=Context())
    assert default["scaled_value"].tolist() == [1, 2]
    assert bound.call(**columns)["scaled_value"].tolist() == [1, 2]  # as `multiplex` calls it
    more = predictor("mixed", "size", "kind", "extra")
    found = more.call(**columns, extra=np.array([0.5, 1.5]), context=Context())
    assert found["scaled_value"].tolist() == [1.5, 3.5]


@pytest.mark.parametrize("value", ["much", [1.0]])
def test_a_parameter_of_another_type_is_the_caller_s_fault(predictor, value):
    bound = predictor("mixed", "size", "kind")
    columns = {"size": np.array([1], np.float32), "kind": np.array(["a"], object)}
    with pytest.raises(InvalidRequest, match="parameter 'factor': "):
        bound.call(**columns, context=Context(parameters={"factor": value}))


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("list", [10.2, 9.5]),
        ("texts", ["row 0", "row 1"]),
        ("series", [10.2, 9.5]),
        ("one column", [10.2, 9.5]),
    ],
)
def test_answers_of_every_kind(predictor, way, expected):
    found = predictor(way).call(x=X[:2])
    assert list(found) == expected or np.allclose(found, expected)


def test_a_dict_names_its_outputs(predictor):
    found = predictor("dict").call(x=X[:2])
    assert found["a"].shape == (2, 4)
    np.testing.assert_allclose(found["b_b"], [10.2, 9.5])


def test_without_a_signature_tensors_come_as_they_are(predictor):
    np.testing.assert_array_equal(predictor("unsigned").call(x=X), X)
    found = predictor("unsigned", "a", "b").call(a=X, b=X[0])
    np.testing.assert_array_equal(found["b"], X[0])
    assert predictor("kind").call(x=X) == ["ndarray"]


@pytest.mark.parametrize("name", ["only", "any"])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_single_column_takes_any_name(predictor, name, shape):
    found = predictor("one", name).call(**{name: np.arange(3.0).reshape(shape)})
    assert found.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        ("empty", (), "empty is no folder with a file MLmodel"),
        ("broken", (), "cannot load broken: .*python_function"),
        ("mixed", ("size", "sort"),
         "mixed takes the columns size, kind, extra, the node has the inputs size, sort"),
        ("two", ("left", "right"), "two takes the inputs left, right_in, the node has left, right"),
        ("nested", (), "column 'many' is of type .*no tensor can carry"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(predictor, root, model, inputs, message):
    with pytest.raises(LoadError, match=message) as raised:
        predictor(model, *inputs)
    assert str(root) not in str(raised.value)


def test_a_folder_that_is_not_there(predictor):
    with pytest.raises(ArtefactError, match="there is no "):
        predictor("nothing")


def test_loading_leaves_nothing_behind(predictor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    predictor("tensor").call(x=X)
    assert list(tmp_path.iterdir()) == []
