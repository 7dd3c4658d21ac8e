from __future__ import annotations

import numpy as np
import pytest

from anabranch.components.binding import bind
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.components.tensors.model_types import ModelTensor
from anabranch.errors import InvalidRequest, LoadError

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

FLOAT, TEXT, BF16 = TensorProto.FLOAT, TensorProto.STRING, TensorProto.BFLOAT16
X = np.arange(8, dtype=np.float32).reshape(2, 4)


def tensor(name, kind=FLOAT, shape=(None, 4)):
    return helper.make_tensor_value_info(name, kind, shape)


def save(path, nodes, inputs, outputs):
    graph = helper.make_graph(nodes, "graph", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    double = helper.make_node("Add", ["x", "x"], ["y"])
    save(folder / "double.onnx", [double], [tensor("x")], [tensor("y")])
    nodes = [
        helper.make_node("Sub", ["in.left", "right"], ["0.difference"]),
        helper.make_node("Add", ["in.left", "right"], ["sum"]),
    ]
    inputs, outputs = [tensor("in.left"), tensor("right")], [tensor("0.difference"), tensor("sum")]
    save(folder / "two.onnx", nodes, inputs, outputs)
    zero = helper.make_tensor("zero", TensorProto.INT64, [1], [0])
    first = [
        helper.make_node("Constant", [], ["at"], value=zero),
        helper.make_node("Gather", ["x", "at"], ["y"], axis=0),
    ]
    save(folder / "first.onnx", first, [tensor("x")], [tensor("y")])
    same = helper.make_node("Identity", ["x"], ["y"])
    save(folder / "text.onnx", [same], [tensor("x", TEXT, [None])], [tensor("y", TEXT, [None])])
    pieces = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    split = helper.make_node("SplitToSequence", ["x"], ["y"], axis=0)
    save(folder / "sequence.onnx", [split], [tensor("x")], [pieces])
    save(folder / "in16.onnx", [same], [tensor("x", BF16)], [tensor("y", BF16)])
    cast = helper.make_node("Cast", ["x"], ["y"], to=BF16)
    save(folder / "out16.onnx", [cast], [tensor("x")], [tensor("y", BF16)])
    save(folder / "scalar.onnx", [same], [tensor("x", FLOAT, [])], [tensor("y", FLOAT, [])])
    large = helper.make_node("ConstantOfShape", ["x"], ["y"])
    size = tensor("x", TensorProto.INT64, [1])
    save(folder / "large.onnx", [large], [size], [tensor("y", FLOAT, [None])])
    (folder / "broken.onnx").write_text("not a model")
    return folder


@pytest.fixture
def predictor(node, root):
    def make(model, **fields):
        return bind("n", node(type="predictor", runtime="onnx", model=model, **fields), root)

    return make


def test_one_input_and_one_output_may_have_any_name(predictor):
    array = X.copy()
    array.flags.writeable = False
    result = predictor("double.onnx", inputs={"pixels": "x"}).call(pixels=array)
    np.testing.assert_array_equal(result, 2 * X)


def test_several_go_by_name(predictor):
    both = {"right": "x", "in_left": "x"}
    result = predictor("two.onnx", inputs=both).call(right=X, in_left=3 * X)
    np.testing.assert_array_equal(result["_0_difference"], 2 * X)
    np.testing.assert_array_equal(result["sum"], 4 * X)
    only = predictor("two.onnx", inputs=both, args={"outputs": ["sum"]})
    np.testing.assert_array_equal(only.call(right=X, in_left=X), 2 * X)


def test_no_rows_are_the_caller_s_mistake_where_a_model_needs_some(predictor):
    np.testing.assert_array_equal(predictor("first.onnx").call(x=X), X[:1])
    with pytest.raises(InvalidRequest, match="takes at least one row, got none"):
        predictor("first.onnx").call(x=X[:0])
    assert predictor("double.onnx").call(x=X[:0]).shape == (0, 4)


def test_a_tensor_for_which_there_is_no_memory(predictor):
    with pytest.raises(MemoryError, match=r"no memory is left for inputs of shape \[1\]"):
        predictor("large.onnx").call(x=np.array([2**45], dtype=np.int64))


def test_what_the_file_knows_of_its_tensors(predictor):
    two = predictor("two.onnx", inputs={"right": "x", "in_left": "x"}).instance
    assert two.input_types == dict.fromkeys(["in_left", "right"], ModelTensor("FP32", (-1, 4)))
    assert two.output_types == dict.fromkeys(["_0_difference", "sum"], ModelTensor("FP32"))


def test_texts(predictor):
    array = np.array(["a", b"b\xc3\xbc"], dtype=object)
    assert predictor("text.onnx").call(x=array).tolist() == ["a", "bü"]


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_converted_classifier(node, tmp_path, zipmap):
    convert = pytest.importorskip("skl2onnx")
    datasets = pytest.importorskip("sklearn.datasets")
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = datasets.load_iris(return_X_y=True)
    x = x.astype(np.float32)
    model = linear.LogisticRegression(max_iter=500).fit(x, y)
    made = convert.to_onnx(model, x[:1], options={"zipmap": zipmap})
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    fields = {"type": "predictor", "runtime": "onnx", "model": "m.onnx"}
    result = bind("n", node(**fields), tmp_path).call(x=x)
    label, probabilities = result.values()
    np.testing.assert_array_equal(label, model.predict(x))
    np.testing.assert_allclose(probabilities, model.predict_proba(x), atol=1e-5)
    empty = bind("n", node(**fields), tmp_path).call(x=x[:0])
    assert [(len(array), array.ndim) for array in empty.values()] == [(0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (X.astype(np.float64), "input 'x' has datatype FP64, expected FP32"),
        (X[:, :3], r"input 'x' has shape \[2, 3\], expected \[-1, 4\]"),
        (X.astype(to_dtype("BF16")), "input 'x' has datatype BF16, expected FP32"),
    ],
)
def test_inputs_are_checked(predictor, array, message):
    with pytest.raises(ValueError, match=message):
        predictor("double.onnx").call(x=array)


def test_bf16_is_refused_where_the_model_says_nothing(predictor):
    with pytest.raises(ValueError, match="an input is BF16"):
        predictor("scalar.onnx").call(x=np.zeros((), to_dtype("BF16")))


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        ("broken.onnx", {}, "cannot load broken.onnx: "),
        ("two.onnx", {}, "two.onnx takes the inputs in_left, right, the node has x"),
        ("double.onnx", {"args": {"outputs": ["z"]}}, r"no output 'z' \(available: y\)"),
        ("sequence.onnx", {}, r"gives 'y' as seq\(tensor\(float\)\), which cannot be a tensor"),
        ("in16.onnx", {}, "in16.onnx has 'x' as BF16"),
        ("out16.onnx", {}, "out16.onnx has 'y' as BF16, .* cast it inside of the model"),
        ("double.onnx", {"args": {"threads": 0}}, "args.threads: must be at least 1, not 0"),
        ("double.onnx", {"args": {"providers": []}}, "at least one of tensorrt, cuda, cpu is"),
        ("double.onnx", {"args": {"providers": ["cpu", "cpu"]}}, "is needed, and none twice"),
        ("double.onnx", {"args": {"providers": ["rocm"]}}, "providers"),
        ("double.onnx", {"method": "run"}, "has no methods to choose from"),
    ],
)
def test_errors_say_what_is_wrong(predictor, model, fields, message):
    with pytest.raises(LoadError, match=message):
        predictor(model, **fields)
