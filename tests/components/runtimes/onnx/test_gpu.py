"""The runtime onnx on a GPU: ``make test-gpu``, where onnxruntime-gpu is installed."""

from __future__ import annotations

import numpy as np
import pytest

from anabranch.components.binding import bind

runtime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from onnx import TensorProto, helper  # noqa: E402

CUDA = "CUDAExecutionProvider"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        CUDA not in runtime.get_available_providers() or not torch.cuda.is_available(),
        reason="needs onnxruntime-gpu and a CUDA device",
    ),
]


@pytest.fixture
def predictor(node, tmp_path):
    x, y = (helper.make_tensor_value_info(one, TensorProto.FLOAT, [None, 64]) for one in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "graph", [x], [y])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), tmp_path / "m.onnx")

    def make(**fields):
        return bind("n", node(type="predictor", runtime="onnx", model="m.onnx", **fields), tmp_path)

    return make


@pytest.mark.parametrize("args", [{}, {"providers": ["cuda"]}])
def test_a_node_that_reserves_a_gpu_runs_on_it(predictor, args):
    bound = predictor(args=args, resources={"gpu": 1.0})
    assert bound.instance._session.get_providers()[0] == CUDA
    x = np.ones((5, 64), np.float32)
    np.testing.assert_array_equal(bound.call(x=x), 2 * x)


def test_a_budget_is_held(predictor):
    bound = predictor(resources={"gpu": 1.0, "gpu_memory": "64MiB"})
    limit = bound.instance._session.get_provider_options()[CUDA]["gpu_mem_limit"]
    assert int(limit) == 64 * 2**20
    with pytest.raises(MemoryError, match="no memory is left"):
        bound.call(x=np.zeros((2**20, 64), np.float32))
    assert bound.call(x=np.ones((5, 64), np.float32)).shape == (5, 64)
