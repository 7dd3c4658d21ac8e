"""Similar samples of a network of torch, against Alibi called directly."""

from __future__ import annotations

import numpy as np
import pytest

from anabranch.errors import InvalidRequest

torch = pytest.importorskip("torch")
alibi = pytest.importorskip("alibi.explainers")

from tests.explainers import digits  # noqa: E402
from tests.explainers.local import REFUSED, ask  # noqa: E402

# torch warns of TorchScript, and of parts of its own tracing.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SAMPLE = 40
PART = """
from tests.explainers.digits import network

class Part:
    def __init__(self):
        self.module = network()

    def predict(self, x):
        return self.module(x)
"""
LINE = """
import torch

class Part:
    def __init__(self):
        torch.manual_seed(0)
        self.module = torch.nn.Linear(3, 1)

    def predict(self, x):
        return self.module(x)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    x, y = digits.pictures()
    digits.export(digits.network(), folder / "net.pt2", torch.tensor(x[:2]))
    digits.script(digits.network(), folder / "net.pt")
    np.savez(folder / "sample.npz", x=x[:SAMPLE], y=y[:SAMPLE])
    np.savez(folder / "doubles.npz", x=x[:SAMPLE].astype(np.float64), y=y[:SAMPLE])
    np.savez(folder / "eleven.npz", x=x[:3], y=[0, 10, 2])
    np.savez(folder / "values.npz", x=x[:3], y=[0.5, 1.0, 2.0])
    np.save(folder / "unlabelled.npy", x[:3])
    (folder / "line.csv").write_text("a,b,c,price\n1,0,0,2.5\n0,1,0,1\n0,0,1,3\n1,1,1,0\n")
    return folder


@pytest.fixture
def model(folder):
    def make(form):
        if form == "component":
            return digits.component(folder, PART)
        return digits.predictor(folder, form)

    return make


@pytest.fixture
def x():
    return digits.pictures()[0][[50, 61]]


def direct(sim_fn="grad_dot", net=None, loss=torch.nn.functional.cross_entropy, **options):
    found = alibi.GradientSimilarity(
        net or digits.network(), loss, sim_fn=sim_fn, backend="pytorch", **options
    )
    pictures, labels = digits.pictures()
    return found.fit(pictures[:SAMPLE], labels[:SAMPLE]) if net is None else found


@pytest.mark.parametrize("form", ["net.pt2", "net.pt", "component"])
@pytest.mark.parametrize("sim_fn", ["grad_dot", "grad_cos", "grad_asym_dot"])
def test_the_same_samples_as_the_library_finds(model, folder, x, form, sim_fn):
    args = {"sim_fn": sim_fn, "top": 3}
    why = digits.explainer(model(form), "similarity", folder, data="sample.npz", args=args)
    found = ask(why, {"x": x})
    expected = direct(sim_fn).explain(x).data
    indices = [[example["index"] for example in one["examples"]] for one in found]
    scores = [[example["score"] for example in one["examples"]] for one in found]
    assert indices == expected["ordered_indices"][:, :3].tolist()
    np.testing.assert_allclose(scores, expected["scores"][:, :3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        [one["library"]["scores"] for one in found], expected["scores"], rtol=1e-4, atol=1e-6
    )
    with torch.no_grad():
        assert [one["target"] for one in found] == digits.network()(
            torch.tensor(x)
        ).argmax(1).tolist()  # fmt: skip


def test_a_target_may_be_asked_for(model, folder, x):
    why = digits.explainer(model("net.pt2"), "similarity", folder, data="sample.npz")
    found = ask(why, {"x": x}, target=3)
    expected = direct().explain(x, np.array([3, 3])).data
    assert [one["examples"][0]["index"] for one in found] == [
        row[0] for row in expected["ordered_indices"]
    ]
    assert [one["target"] for one in found] == [3, 3]


def test_without_kept_gradients_and_from_doubles_it_finds_the_same(model, folder, x):
    kept = digits.explainer(model("net.pt2"), "similarity", folder, data="sample.npz")
    fresh = digits.explainer(
        model("net.pt2"), "similarity", folder, data="doubles.npz",
        args={"precompute_grads": False},
    )  # fmt: skip
    for one, other in zip(ask(kept, {"x": x}), ask(fresh, {"x": x}), strict=True):
        assert [example["index"] for example in one["examples"]] == [
            example["index"] for example in other["examples"]
        ]


@pytest.mark.parametrize("form", ["net.pt2", "component"])
def test_the_gradients_may_be_those_of_one_layer(model, folder, x, form):
    args = {"layer": "fc"}
    why = digits.explainer(model(form), "similarity", folder, data="sample.npz", args=args)
    net = digits.Net()
    net.load_state_dict(digits.network().state_dict())
    for name, weight in net.named_parameters():
        weight.requires_grad_(name.startswith("fc."))
    library = alibi.GradientSimilarity(net, torch.nn.functional.cross_entropy, backend="pytorch")
    pictures, labels = digits.pictures()
    expected = library.fit(pictures[:SAMPLE], labels[:SAMPLE]).explain(x).data
    found = ask(why, {"x": x})
    np.testing.assert_allclose(
        [one["library"]["scores"] for one in found], expected["scores"], rtol=1e-4, atol=1e-6
    )
    assert all(weight.requires_grad for weight in digits.network().parameters())


def test_no_gradients_are_left_in_the_weights(model, folder, x):
    seen = model("component")
    ask(digits.explainer(seen, "similarity", folder, data="sample.npz"), {"x": x})
    assert all(weight.grad is None for weight in seen.instance.module.parameters())


def test_regression_needs_the_truth(folder, tmp_path):
    args = {"task": "regression", "label": "price", "top": 4}
    line = digits.component(tmp_path, LINE)
    why = digits.explainer(line, "similarity", folder, data="line.csv", args=args)
    rows = np.array([[1.0, 1.0, 0.0]], np.float32)
    (found,) = ask(why, {"x": rows}, truth=2)
    table = np.genfromtxt(folder / "line.csv", delimiter=",", skip_header=1, dtype=np.float32)
    library = alibi.GradientSimilarity(
        line.instance.module, torch.nn.functional.mse_loss, task="regression", backend="pytorch"
    ).fit(table[:, :3], table[:, 3:])
    expected = library.explain(rows, np.array([[2.0]], np.float32)).data
    np.testing.assert_allclose(
        [one["score"] for one in found["examples"]], expected["scores"][0], rtol=1e-5
    )
    assert "target" not in found
    with pytest.raises(InvalidRequest, match="'truth' must be a number"):
        ask(why, {"x": rows})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "data: similarity needs data"),
        ({"data": "unlabelled.npy"}, "needs labels: y in the .npz"),
        ({"data": "eleven.npz"}, "y holds 0 to 10, but the network gives 10 classes: 0 to 9"),
        ({"data": "values.npz"}, r"whole numbers y \[rows\], not .* float64\[3\]"),
        ({"data": "values.npz", "args": {"task": "regression"}}, r"numbers y of shape \[3, 10\]"),
        (
            {"data": "sample.npz", "args": {"layer": "fd"}},
            r"no layer 'fd' has weights \(available: conv, fc, hidden\)",
        ),
        (
            {"data": "sample.npz", "args": {"task": "regression", "loss": "cross_entropy"}},
            "args.loss: for this task it is one of mse_loss",
        ),
        ({"data": "sample.npz", "args": {"top": 0}}, "args.top: must be at least 1"),
    ],
)
def test_what_cannot_be_loaded_says_why(model, folder, fields, message):
    with pytest.raises(REFUSED, match=message):
        digits.explainer(model("net.pt2"), "similarity", folder, **fields)


def test_a_table_of_gradients_has_a_limit(model, folder, monkeypatch):
    monkeypatch.setattr("anabranch.explainers.similarity.MOST_BYTES", 1000)
    with pytest.raises(REFUSED, match="40 rows by 1250 weights take 200000 bytes, more than 1000"):
        digits.explainer(model("net.pt2"), "similarity", folder, data="sample.npz")
    args = {"precompute_grads": False}
    digits.explainer(model("net.pt2"), "similarity", folder, data="sample.npz", args=args)


def test_weights_that_take_no_gradients_tell_nothing(folder, tmp_path):
    part = digits.component(tmp_path, PART.replace("network()", "network().requires_grad_(False)"))
    try:
        with pytest.raises(REFUSED, match="none of its weights takes gradients"):
            digits.explainer(part, "similarity", folder, data="sample.npz")
    finally:
        digits.network().requires_grad_(True)
