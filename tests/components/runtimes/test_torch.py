from __future__ import annotations

import asyncio
import shutil

import numpy as np
import pytest

from anabranch.components.binding import bind
from anabranch.components.contract import Context
from anabranch.components.runtimes.torch.loading import load
from anabranch.components.runtimes.torch.warming import examples, free_batch
from anabranch.components.tensors.model_types import ModelTensor
from anabranch.errors import InvalidRequest, LoadError
from anabranch.graph.compile.loading import load_data
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes

torch = pytest.importorskip("torch")

# torch deprecates TorchScript, which people still serve, and parts of its own tracing.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x).softmax(-1)


class Two(torch.nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor):
        return left - right, left + right


class Highest(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.amax(0)


class Named(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"double": 2 * x, "half": x / 2}


class Whole(torch.nn.Module):
    def forward(self, x: torch.Tensor, at: torch.Tensor):
        return 2 * x, at + 1


class Nested(torch.nn.Module):
    def forward(self, pair: dict[str, torch.Tensor]) -> torch.Tensor:
        return pair["a"] + pair["b"]


X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def export(module, path, *args, dynamic=None, **kwargs):
    program = torch.export.export(module.eval(), args, kwargs, dynamic_shapes=dynamic)
    torch.export.save(program, path)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def root(tmp_path_factory, net):
    folder = tmp_path_factory.mktemp("models")
    batch, x = torch.export.Dim("batch"), torch.ones(2, 4)
    export(net, folder / "net.pt2", x, dynamic={"x": {0: batch}})
    export(Two(), folder / "two.pt2", x, x.clone())
    export(Two(), folder / "keywords.pt2", x, right=x.clone())
    export(Named(), folder / "named.pt2", x)
    export(net, folder / "fixed.pt2", x)
    export(Whole(), folder / "whole.pt2", x, torch.tensor([1, 2]))
    export(Nested(), folder / "nested.pt2", {"a": x, "b": x.clone()})
    torch.jit.script(net).save(folder / "net.pt")
    torch.jit.script(net).save(folder / "wrong-suffix.pt2")
    torch.jit.script(Highest()).save(folder / "highest.pt")
    torch.jit.script(Two()).save(folder / "two.ts")
    torch.save(net.state_dict(), folder / "weights.pt")
    (folder / "text.pt").write_text("not a model")
    return folder


@pytest.fixture
def predictor(node, root):
    def make(model, **fields):
        return bind("n", node(type="predictor", runtime="torch", model=model, **fields), root)

    return make


@pytest.mark.parametrize("model", ["net.pt2", "net.pt", "wrong-suffix.pt2"])
def test_a_network_answers_as_it_does_itself(predictor, net, model):
    array = X.copy()
    array.flags.writeable = False
    result = predictor(model, args={"device": "cpu"}).call(x=array)
    assert type(result) is np.ndarray
    np.testing.assert_allclose(result, net(torch.tensor(X)).detach().numpy(), rtol=1e-6)


def test_no_rows_are_the_caller_s_mistake_where_a_model_needs_some(predictor):
    np.testing.assert_allclose(predictor("highest.pt").call(x=X), X - X.max(0))
    with pytest.raises(InvalidRequest, match="takes at least one row, got none"):
        predictor("highest.pt").call(x=X[:0])
    assert predictor("net.pt2").call(x=X[:0]).shape == (0, 3)


def test_one_input_may_have_any_name(predictor):
    assert predictor("net.pt2", inputs={"pixels": "x"}).call(pixels=X).shape == (5, 3)


@pytest.mark.parametrize("model", ["two.pt2", "two.ts", "keywords.pt2"])
def test_several_inputs_go_by_name_and_tuples_are_numbered(predictor, model):
    bound = predictor(model, inputs={"right": "x", "left": "x"})
    result = bound.call(right=X[:2], left=3 * X[:2])
    np.testing.assert_allclose(result["output_0"], 2 * X[:2], rtol=1e-6)
    np.testing.assert_allclose(result["output_1"], 4 * X[:2], rtol=1e-6)


def test_a_dict_names_its_outputs(predictor):
    result = predictor("named.pt2").call(x=X[:2])
    np.testing.assert_array_equal(result["double"], 2 * X[:2])
    np.testing.assert_array_equal(result["half"], X[:2] / 2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (X.astype(np.float64), "input 'x' has datatype FP64, expected FP32"),
        (X[:, :3], r"input 'x' has shape \[5, 3\], expected \[-1, 4\]"),
        (X[0], r"input 'x' has shape \[4\], expected \[-1, 4\]"),
    ],
)
def test_inputs_of_a_program_are_checked(predictor, array, message):
    with pytest.raises(ValueError, match=message):
        predictor("net.pt2").call(x=array)


@pytest.mark.parametrize(("dtype", "places"), [("bf16", 1e-2), ("fp16", 2e-3), ("fp32", 1e-6)])
@pytest.mark.parametrize("model", ["net.pt2", "net.pt"])
def test_a_narrow_datatype_inside_and_fp32_outside(predictor, net, model, dtype, places):
    bound = predictor(model, args={"dtype": dtype, "device": "cpu"})
    result = bound.call(x=X)
    expected = net(torch.tensor(X)).detach().numpy()
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=places)
    assert np.array_equal(result, expected) == (dtype == "fp32")


def test_whole_numbers_are_not_cast(predictor):
    bound = predictor("whole.pt2", args={"dtype": "bf16"}, inputs={"x": "x", "at": "x"})
    result = bound.call(x=X[:2], at=np.array([1000, 1001]))
    assert result["output_0"].dtype == np.float32
    assert result["output_1"].tolist() == [1001, 1002]


def test_what_a_program_knows_of_its_tensors(predictor):
    fp32 = ModelTensor("FP32")
    net = predictor("net.pt2").instance
    assert net.input_types == {"x": ModelTensor("FP32", (-1, 4))}
    assert net.output_types == {"output": fp32}
    assert predictor("named.pt2").instance.output_types == {"double": fp32, "half": fp32}
    whole = predictor("whole.pt2", args={"dtype": "bf16"}, inputs={"x": "x", "at": "x"}).instance
    assert whole.output_types == {"output_0": ModelTensor(), "output_1": ModelTensor("INT64")}
    assert predictor("net.pt").instance.output_types == {}


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
def test_a_compiled_program_answers_the_same(predictor, net):
    bound = predictor("fixed.pt2", args={"compile": True, "device": "cpu"})
    expected = net(torch.tensor(X[:2])).detach().numpy()
    before = dict(torch._dynamo.utils.counters["stats"])
    np.testing.assert_allclose(bound.call(x=X[:2]), expected, rtol=1e-5)
    assert torch._dynamo.utils.counters["stats"] == before  # no request compiles anything
    assert before["unique_graphs"] > 0


def test_what_cannot_be_compiled_is_an_error_of_loading(predictor, monkeypatch):
    def refuse(module, dynamic):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(LoadError, match=r"cannot load net\.pt2: RuntimeError: no C\+\+ compiler"):
        predictor("net.pt2", args={"compile": True})


def test_warming_up_covers_one_row_and_several(root):
    model = load(torch, root / "net.pt2", "cpu", torch.bfloat16)
    assert [tuple(examples(torch, model, rows)[0].shape) for rows in (1, 2)] == [(1, 4), (2, 4)]
    assert examples(torch, model, 1)[0].dtype == torch.bfloat16
    assert free_batch(model)
    assert not free_batch(load(torch, root / "fixed.pt2", "cpu", None))
    assert not free_batch(load(torch, root / "net.pt", "cpu", None))


def test_without_memory_the_request_fails_and_the_memory_is_free_again(predictor, monkeypatch):
    bound = predictor("net.pt2", args={"device": "cpu"})
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))

    def full(tensors):
        if len(tensors[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return tensors[0]

    monkeypatch.setattr(bound.instance._run, "run", full)
    with pytest.raises(
        MemoryError, match=r"no memory left for inputs of shape \[5, 4\]$"
    ) as raised:
        bound.call(x=X)
    assert raised.value.__context__ is None  # whose traceback would keep the tensors
    assert emptied == [1]
    assert bound.call(x=X[:2]).shape == (2, 4)


def test_a_batch_without_memory_is_halved_until_it_fits(root, net, monkeypatch):
    node = {"type": "predictor", "runtime": "torch", "model": "net.pt2", "inputs": {"x": "x"}}
    batching = {"max_size": 8, "max_delay": "200ms"}
    data = {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "g"},
        "spec": {
            "inputs": {"x": {"datatype": "FP32", "shape": [-1, 4]}},
            "nodes": {"net": {**node, "args": {"device": "cpu"}, "batching": batching}},
            "outputs": {"y": "net"},
        },
    }
    plan = load_data(data, root).plan
    rows, asked = [X[[index % 5]] for index in range(8)], []

    async def run():
        bound = await load_nodes(plan, plan.nodes, root)
        whole = bound["net"].instance._run.run

        def small(tensors):
            asked.append(len(tensors[0]))
            if asked[-1] > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return whole(tensors)

        monkeypatch.setattr(bound["net"].instance._run, "run", small)
        executor = HeadExecutor(plan, bound)
        try:
            return await asyncio.gather(*(executor.run({"x": x}, Context()) for x in rows))
        finally:
            executor.close()

    for x, found in zip(rows, asyncio.run(run()), strict=True):
        expected = net(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(found["y"], expected, rtol=1e-5)
    assert max(asked) > 2  # so it was halved


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(predictor):
    with pytest.raises(LoadError, match=r"'cuda', but torch .* sees no CUDA device here: .*gpu: 1"):
        predictor("net.pt2", args={"device": "cuda"})


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        ("weights.pt", {}, "written by torch.save and holds weights"),
        ("text.pt", {}, "text.pt is neither a torch.export program nor TorchScript"),
        ("nested.pt2", {}, "takes nested inputs"),
        ("two.pt2", {}, "two.pt2 takes the inputs left, right, the node has x"),
        ("net.pt2", {"method": "forward"}, "has no methods to choose from"),
        ("net.pt2", {"args": {"device": "tpu"}}, "'tpu' is not one of auto, cpu, cuda"),
        ("net.pt2", {"args": {"dtype": "int8"}}, "'int8' is not one of fp32, fp16, bf16"),
        ("net.pt2", {"args": {"cuda_graphs": [1], "device": "cpu"}},
         "cuda_graphs needs a CUDA device, but the model runs on the CPU"),
        ("net.pt2", {"args": {"cuda_graphs": []}}, "cuda_graphs: must be at least 1 long"),
        ("net.pt2", {"args": {"cuda_graphs": [8, 0]}}, "cuda_graphs: must be at least 1, not"),
        ("net.pt", {"args": {"compile": True}}, "needs a torch.export program, not TorchScript"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(predictor, model, fields, message):
    with pytest.raises(LoadError, match=message):
        predictor(model, **fields)
