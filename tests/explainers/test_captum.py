"""Captum's methods over a component of torch, against Captum called directly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest

torch = pytest.importorskip("torch")
attr = pytest.importorskip("captum.attr")

from tests.examples import examples  # noqa: E402
from tests.explainers import digits  # noqa: E402
from tests.explainers.local import REFUSED, ask  # noqa: E402

# Captum and torch warn of what they do on purpose.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

PART = """
from tests.explainers.digits import network

class Part:
    def __init__(self):
        self.module = network()

    def predict(self, x):
        return self.module(x)
"""
WINDOW = {"sliding_window_shapes": (1, 3, 3), "strides": (1, 2, 2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    net, x = digits.network(), torch.tensor(digits.pictures()[0][:2])
    digits.export(net, folder / "net.pt2", x)
    digits.export(net, folder / "fixed.pt2", x, free=False)
    digits.script(net, folder / "net.pt")
    np.save(folder / "grey.npy", np.full((1, 8, 8), 0.5, np.float32))
    np.save(folder / "wide.npy", np.zeros((1, 9, 8), np.float32))
    return folder


@pytest.fixture(scope="module")
def model(folder):
    """The network as it is served: by the format of its file, or in a component."""

    def make(form):
        if form == "component":
            return digits.component(folder, PART)
        return digits.predictor(folder, form)

    return make


@pytest.fixture
def x():
    return digits.pictures()[0][[0, 7, 30]]


def direct(library, x, targets, **arguments):
    return library.attribute(torch.tensor(x), target=targets, **arguments).detach().numpy()


def predicted(x):
    with torch.no_grad():
        return digits.network()(torch.tensor(x))


def attributions(found):
    return np.array([one["attributions"] for one in found])


FORMS = ("net.pt2", "net.pt", "component")
HOOKED = ("net.pt2", "component")
CASES = [
    ("integrated_gradients", {}, FORMS, lambda net: attr.IntegratedGradients(net), {}),
    (
        "integrated_gradients", {"n_steps": 20, "method": "riemann_middle", "baseline": 0.5},
        FORMS, lambda net: attr.IntegratedGradients(net),
        {"n_steps": 20, "method": "riemann_middle", "baselines": 0.5},
    ),
    ("saliency", {}, FORMS, lambda net: attr.Saliency(net), {}),
    ("saliency", {"abs": False}, FORMS, lambda net: attr.Saliency(net), {"abs": False}),
    ("deep_lift", {}, HOOKED, lambda net: attr.DeepLift(net), {}),
    ("deep_lift", {"baseline": 0.2}, HOOKED, lambda net: attr.DeepLift(net), {"baselines": 0.2}),
    (
        "occlusion", {name: list(value) for name, value in WINDOW.items()}, FORMS,
        # FP32 sums differ by the size of a batch on some processors, so the library gets the same.
        lambda net: attr.Occlusion(net), {**WINDOW, "perturbations_per_eval": 64},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "method", "args", "cls", "arguments"),
    [(form, *case[:2], *case[3:]) for case in CASES for form in case[2]],
)
def test_it_says_what_the_library_says(model, x, form, method, args, cls, arguments):
    found = ask(digits.explainer(model(form), method, args=args), {"x": x})
    targets = predicted(x).argmax(1)
    expected = direct(cls(digits.network()), x, targets, **arguments)
    np.testing.assert_allclose(attributions(found), expected, atol=1e-6)
    assert [one["target"] for one in found] == targets.tolist()
    np.testing.assert_allclose(
        [one["prediction"] for one in found], predicted(x).amax(1), rtol=1e-6
    )
    assert {one["method"] for one in found} == {method}


@pytest.mark.parametrize("form", HOOKED)
@pytest.mark.parametrize("layer", ["conv", "act"])
def test_the_map_of_a_layer_has_the_size_of_the_picture(model, x, form, layer):
    args = {"layer": layer, "relu_attributions": True}
    found = ask(digits.explainer(model(form), "layer_gradcam", args=args), {"x": x})
    net = digits.network()
    expected = direct(
        attr.LayerGradCam(net, getattr(net, layer)), x, predicted(x).argmax(1),
        relu_attributions=True,
    )  # fmt: skip
    np.testing.assert_allclose(attributions(found), expected, atol=1e-6)


@pytest.mark.parametrize("form", HOOKED)
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_a_smaller_map_is_enlarged(model, x, form, mode):
    args = {"layer": "pool", "interpolate": mode}
    found = ask(digits.explainer(model(form), "layer_gradcam", args=args), {"x": x})
    net = digits.network()
    small = attr.LayerGradCam(net, net.pool).attribute(
        torch.tensor(x), target=predicted(x).argmax(1)
    )
    np.testing.assert_allclose(
        attributions(found), attr.LayerAttribution.interpolate(small.detach(), (8, 8), mode),
        atol=1e-6,
    )  # fmt: skip
    maps = [one["library"]["layer"] for one in found]
    np.testing.assert_allclose(maps, small.detach(), atol=1e-6)


SMOOTH = """
import torch

class Part:
    def __init__(self):
        torch.manual_seed(1)
        self.module = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.Tanh(), torch.nn.Linear(8, 10),
        )

    def predict(self, x):
        return self.module(x)
"""
BASELINES = (0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def additive(folder, tmp_path_factory):
    """Methods whose attributions add up, over networks where they do: by name and baseline."""
    smooth = digits.component(tmp_path_factory.mktemp("smooth"), SMOOTH)
    networks = {"kinked": digits.predictor(folder, "net.pt2"), "smooth": smooth}
    fine = {"tolerance": 9e-4}
    cases = {
        "kinked": ("kinked", "integrated_gradients", fine),
        "smooth": ("smooth", "integrated_gradients", {}),
        "deep_lift": ("smooth", "deep_lift", {}),
    }
    return {
        (name, base): digits.explainer(networks[net], method, args={"baseline": base, **args})
        for name, (net, method, args) in cases.items()
        for base in BASELINES
    }


@settings(max_examples=examples(12), deadline=None)
@given(row=st.integers(0, 1796), target=st.integers(0, 9), base=st.sampled_from(BASELINES))
@pytest.mark.parametrize("name", ["kinked", "smooth", "deep_lift"])
def test_attributions_add_up_to_prediction_minus_base_value(additive, name, row, target, base):
    why, x = additive[name, base], digits.pictures()[0][row : row + 1]
    (found,) = ask(why, {"x": x}, target=target)
    missed = np.sum(found["attributions"]) - (found["prediction"] - found["base_value"])
    assert abs(missed) < 1e-3
    assert missed == pytest.approx(found["library"]["convergence_delta"], abs=1e-9)
    with torch.no_grad():
        scores = why.instance.network.explained(
            torch.tensor(np.concatenate([x, np.full_like(x, base)]))
        )
    expected = [found["prediction"], found["base_value"]]
    np.testing.assert_allclose(expected, scores[:, target], rtol=1e-4, atol=1e-5)


def test_a_baseline_may_be_a_row_from_a_file(model, folder, x):
    args = {"baseline": "grey.npy"}
    why = digits.explainer(model("net.pt2"), "integrated_gradients", folder, args=args)
    half = digits.explainer(model("net.pt2"), "integrated_gradients", args={"baseline": 0.5})
    assert attributions(ask(why, {"x": x})).tolist() == attributions(
        ask(half, {"x": x})
    ).tolist()  # fmt: skip


@pytest.mark.parametrize("method", ["integrated_gradients", "saliency", "deep_lift", "occlusion"])
def test_many_rows_go_through_in_chunks(model, method):
    x = digits.pictures()[0][:7]
    together = digits.explainer(model("net.pt2"), method)
    chunks = digits.explainer(model("net.pt2"), method, args={"internal_batch_size": 3})
    np.testing.assert_allclose(
        attributions(ask(together, {"x": x})),
        attributions(ask(chunks, {"x": x})),
        atol=1e-5,  # of logits around 10, in FP32,
    )


def test_a_target_may_be_asked_for(model, x):
    why = digits.explainer(model("net.pt2"), "saliency")
    found = ask(why, {"x": x}, target=4)
    assert [one["target"] for one in found] == [4, 4, 4]
    with pytest.raises(InvalidRequest, match=r"'target' is 10, but .* 10 scores: 0 to 9"):
        ask(why, {"x": x}, target=10)
    with pytest.raises(InvalidRequest, match="'target' must be a whole number"):
        ask(why, {"x": x}, target="4")


TWO = """
import torch

class Net(torch.nn.Module):
    def forward(self, scale, x, at):
        x = x * scale + torch.rand_like(x) / 10
        return {"rest": x.sum(1), "picked": x.gather(1, at)[:, 0] ** 2}

class Part:
    def __init__(self):
        self.module = Net().train()

    def predict(self, scale, x, at):
        return self.module(scale, x, at)
"""
INPUTS = {
    "scale": np.array([[2.0], [3.0]], np.float32),
    "x": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
    "at": np.array([[0], [1]]),
}


@pytest.fixture
def two(tmp_path):
    return digits.component(tmp_path, TWO, inputs={name: name for name in INPUTS})


def test_one_of_several_inputs_and_outputs_is_explained(two):
    args = {"input": "x", "output": "picked"}
    found = ask(digits.explainer(two, "integrated_gradients", args=args), INPUTS)
    assert "target" not in found[0]
    np.testing.assert_allclose(attributions(found) != 0, [[True, False], [False, True]])
    for one in found:
        assert sum(one["attributions"]) == pytest.approx(one["prediction"], rel=0.1)


def test_a_network_that_draws_is_the_same_for_the_same_seed(two):
    args = {"input": "x", "output": "picked", "abs": False}
    why = digits.explainer(two, "saliency", args=args, seed=3)
    state = torch.get_rng_state()
    first = ask(why, INPUTS)
    assert ask(why, INPUTS) == first == ask(why, INPUTS, seed=3)
    assert ask(why, INPUTS, seed=4) != first
    assert first[0]["seed"] == 3
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_is_left_behind_in_the_network(model, x):
    seen = model("component")
    for method in ("integrated_gradients", "saliency", "deep_lift", "occlusion"):
        ask(digits.explainer(seen, method), {"x": x})
    ask(digits.explainer(seen, "layer_gradcam", args={"layer": "conv"}), {"x": x})
    module = seen.instance.module
    assert not module.training
    assert all(weight.grad is None for weight in module.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in module.modules())


@pytest.mark.parametrize(
    ("inputs", "args", "error", "message"),
    [
        (
            {},
            {"input": "at", "output": "rest"},
            InvalidRequest,
            "input 'at' is int64, .* floats only",
        ),
        ({}, {"input": "x"}, ValueError, "gives the outputs rest, picked; name one"),
        ({}, {"input": "x", "output": "none"}, ValueError, "picked, none is 'none'"),
        ({}, {"output": "rest"}, REFUSED, "has the inputs scale, x, at; name one"),
        ({}, {"input": "y"}, REFUSED, "no input 'y'"),
    ],
)
def test_what_cannot_be_explained_of_a_request(two, inputs, args, error, message):
    with pytest.raises(error, match=message):
        ask(digits.explainer(two, "saliency", args=args), {**INPUTS, **inputs})


@pytest.mark.parametrize(
    ("method", "args", "message"),
    [
        (
            "integrated_gradients",
            {"baseline": "wide.npy"},
            r"shape \[1, 8, 8\], but .* \[1, 9, 8\]",
        ),
        ("occlusion", {"sliding_window_shapes": [3, 3]}, r"one size for each dimension .* \[1, 8"),
        ("occlusion", {"sliding_window_shapes": [1, 9, 3]}, r"at most \[1, 8, 8\]"),
        ("occlusion", {"strides": [1, 2, 2]}, r"strides is \[1, 2, 2\], .* at most \[1, 1, 1\]"),
    ],
)
def test_what_does_not_fit_the_rows(model, folder, x, method, args, message):
    why = digits.explainer(model("net.pt2"), method, folder, args=args)
    with pytest.raises(InvalidRequest, match=message):
        ask(why, {"x": x})


@pytest.mark.parametrize(
    ("form", "method", "args", "message"),
    [
        ("net.pt", "deep_lift", {}, "needs hooks, which TorchScript does not take: write the mod"),
        ("net.pt", "layer_gradcam", {"layer": "conv"}, "or explain a component that has its torch"),
        ("net.pt2", "layer_gradcam", {"layer": "conf"}, "no layer 'conf' .did you mean 'conv'"),
        ("component", "layer_gradcam", {"layer": "conf"}, "no layer 'conf' .did you mean 'conv'"),
        ("fixed.pt2", "saliency", {}, r"shape \[2, 1, 8, 8\] only, .* any size of the first"),
        ("net.pt2", "deep_lift", {"baseline": "gray.npy"}, "no file 'gray.npy'"),
        (
            "net.pt2",
            "deep_lift",
            {"baseline": "net.pt"},
            "baseline net.pt holds no array of numbers",
        ),
        (
            "net.pt2",
            "saliency",
            {"internal_batch_size": 0},
            "internal_batch_size: must be at least",
        ),
        ("net.pt2", "occlusion", {"strides": [1, 0, 1]}, "args.strides: must be at least 1"),
        ("net.pt2", "integrated_gradients", {"n_steps": 0}, "args.n_steps: must be at least 1"),
        ("net.pt2", "layer_gradcam", {}, "needs the argument 'layer'"),
    ],
)
def test_what_cannot_be_loaded_says_what_would_fit(model, folder, form, method, args, message):
    with pytest.raises(REFUSED, match=message):
        digits.explainer(model(form), method, folder, args=args)


def test_a_layer_without_a_map_is_no_picture(model, x):
    why = digits.explainer(model("net.pt2"), "layer_gradcam", args={"layer": "hidden"})
    with pytest.raises(ValueError, match=r"layer 'hidden' gives \[1\] for a row, which is no map"):
        ask(why, {"x": x})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Part:\n    def predict(self, x): ...", "here is a Part without one"),
        (
            "class Part:\n    module = 3\n    def predict(self, x): ...",
            "here is a Part with another thing",
        ),
    ],
)
def test_a_component_without_a_network_cannot_be_looked_into(tmp_path, code, message):
    with pytest.raises(REFUSED, match=message):
        digits.explainer(digits.component(tmp_path, code), "saliency")
    nothing = digits.component(tmp_path, code)
    nothing.instance = None
    with pytest.raises(REFUSED, match="no copy of the node in this process"):
        digits.explainer(nothing, "saliency")
