from __future__ import annotations

import numpy as np
import pytest

from anabranch.components.binding import bind
from anabranch.errors import LoadError

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


class Named(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"double": 2 * x, "half": x / 2}


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
    export(Nested(), folder / "nested.pt2", {"a": x, "b": x.clone()})
    torch.jit.script(net).save(folder / "net.pt")
    torch.jit.script(net).save(folder / "wrong-suffix.pt2")
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(predictor):
    with pytest.raises(LoadError, match=r"'cuda', but torch .* sees no CUDA device here: .*gpu: 1"):
        predictor("net.pt2", args={"device": "cuda"})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", ["net.pt2", "net.pt"])
@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_cuda(predictor, net, model, device):
    bound = predictor(model, args={"device": device})
    assert bound.instance._device == "cuda"
    expected = net(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(bound.call(x=X), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        ("weights.pt", {}, "written by torch.save and holds weights"),
        ("text.pt", {}, "text.pt is neither a torch.export program nor TorchScript"),
        ("nested.pt2", {}, "takes nested inputs"),
        ("two.pt2", {}, "two.pt2 takes the inputs left, right, the node has x"),
        ("net.pt2", {"method": "forward"}, "has no methods to choose from"),
        ("net.pt2", {"args": {"device": "tpu"}}, "'tpu' is not one of auto, cpu, cuda"),
    ],
)
def test_errors_say_what_is_wrong(predictor, model, fields, message):
    with pytest.raises(LoadError, match=message):
        predictor(model, **fields)
