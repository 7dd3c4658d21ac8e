"""Which nodes have a network inside, and hooks on what torch.export writes."""

from __future__ import annotations

import numpy as np
import pytest

from anabranch.components import registry
from anabranch.components.contract import CannotLoad
from anabranch.explainers.networks import misfit

torch = pytest.importorskip("torch")
attr = pytest.importorskip("captum.attr")

from anabranch.explainers.networks.hooks import with_activations, with_layer  # noqa: E402
from tests.explainers import digits  # noqa: E402
from tests.explainers.local import node  # noqa: E402

nn = torch.nn
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
METHODS = ("integrated_gradients", "saliency", "deep_lift", "occlusion", "layer_gradcam")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "predictor", "runtime": "torch", "model": "a.pt2"}, None),
        ({"type": "predictor", "component": "a.py:A"}, None),
        ({"type": "predictor", "runtime": "sklearn", "model": "a.joblib"}, "runtime torch, or a"),
        ({"type": "transformer", "method": "softmax"}, "runtime torch, or a component"),
        (
            {
                "type": "predictor", "runtime": "torch", "model": "{model}.pt2",
                "multiplex": {},
            },
            "not into many",
        ),
    ],
)  # fmt: skip
def test_what_a_method_can_look_into(fields, message):
    explained = node(**fields)
    found = misfit(explained)
    assert (found is None) == (message is None)
    assert (message or "") in (found or "")
    assert "whole graph" in (misfit(None) or "")
    for method in METHODS:
        kind = registry.get("explainer", method)
        assert (kind.fits(explained), kind.looks_inside) == (found, True)


class Functional(nn.Module):
    """Activations as functions, in place and again, on branches that meet."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True))
        self.end = nn.Linear(48, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.block(x)
        z = nn.functional.max_pool2d(nn.functional.leaky_relu(y - 0.3, 0.1), 2)
        z = torch.sigmoid(z) + nn.functional.softplus(z, 2.0)
        z = nn.functional.elu(self.end(z.flatten(1)) - 0.5, 0.7)
        return torch.softmax(torch.relu_(z) + z, dim=1)


class Modules(Functional):
    """The same with modules, as Captum wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.leaky, self.pool = nn.ReLU(), nn.LeakyReLU(0.1), nn.MaxPool2d(2)
        self.sigmoid, self.softplus, self.elu = nn.Sigmoid(), nn.Softplus(2.0), nn.ELU(0.7)
        self.last, self.softmax = nn.ReLU(), nn.Softmax(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.block[0](x))
        z = self.pool(self.leaky(y - 0.3))
        z = self.sigmoid(z) + self.softplus(z)
        z = self.last(self.elu(self.end(z.flatten(1)) - 0.5))
        return self.softmax(z + z)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    def make(module, *examples):
        path = tmp_path_factory.mktemp("programs") / "program.pt2"
        digits.export(module, path, *examples)
        return torch.export.load(path).module()

    return make


@pytest.fixture(scope="module")
def x():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def functional(program, x):
    torch.manual_seed(2)
    return program(Functional(), x)


class Wrapped(nn.Module):
    """What checks the shapes of a program's inputs does not see DeepLIFT's own."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_activations_become_modules_and_nothing_else_changes(functional, x):
    found = with_activations(functional)
    kinds = [type(part).__name__ for name, part in found.named_modules() if "activation" in name]
    assert kinds == [
        "ReLU", "LeakyReLU", "MaxPool2d", "Sigmoid", "Softplus", "ELU", "ReLU", "Softmax",
    ]  # fmt: skip
    torch.testing.assert_close(found(x), functional(x), rtol=0, atol=0)
    assert {id(weight) for weight in found.parameters()} == {
        id(weight) for weight in functional.parameters()
    }
    assert not any("activation" in name for name, _ in functional.named_modules())


def test_deep_lift_sees_activations_that_were_functions(functional, x):
    torch.manual_seed(2)
    modules = Modules().eval()
    torch.testing.assert_close(modules(x), functional(x))
    found = attr.DeepLift(Wrapped(with_activations(functional))).attribute(x, target=1)
    np.testing.assert_allclose(
        found.detach(), attr.DeepLift(modules).attribute(x, target=1).detach(), atol=1e-6
    )


def test_a_layer_may_hold_others(functional, x):
    module, layer = with_layer(functional, "block")
    seen = []
    layer.register_forward_hook(lambda part, inputs, output: seen.append(output))
    torch.testing.assert_close(module(x), functional(x), rtol=0, atol=0)
    assert seen[0].shape == (6, 3, 8, 8)


class Split(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + 1, x * 2


class Several(nn.Module):
    """A layer that runs twice, and one with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.split = nn.Linear(4, 4), Split()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.split(x)
        return self.line(self.line(left)) * right


@pytest.mark.parametrize(
    ("layer", "message"),
    [("line", "'line' gives 1 tensors in 2 runs"), ("split", "'split' gives 2 tensors in 1 runs")],
)
def test_a_layer_with_several_outputs_has_no_one_map(program, layer, message):
    with pytest.raises(CannotLoad, match=message):
        with_layer(program(Several(), torch.rand(3, 4)), layer)
