"""Methods that speak of the model as a whole, against the library called directly."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from anabranch.components import registry
from anabranch.errors import InvalidRequest
from tests.explainers.local import REFUSED, Local, ask, explainer, node, tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    library = pytest.importorskip("alibi.explainers")
pytestmark = pytest.mark.filterwarnings("ignore")

METHODS = ("ale", "partial_dependence", "partial_dependence_variance", "permutation_importance")


@pytest.fixture(scope="module")
def model(cancer):
    return served(cancer, "predict_proba")


def served(cancer, method):
    spec = node(type="predictor", runtime="sklearn", model="forest.joblib", method=method)
    return Local(spec, cancer.root, {"x": tensor("FP32", 8)})


@pytest.fixture(scope="module")
def sample(cancer):
    return cancer.x[:100].astype(np.float64)


def only(found):
    (one,) = found
    return one


def test_ale(cancer, model, sample):
    why = explainer(model, cancer.root, "ale", data="sample.npz")
    expected = library.ALE(cancer.forest.predict_proba, cancer.names).explain(sample).data
    usual = int(cancer.forest.predict_proba(sample).mean(axis=0).argmax())
    for target, parameters in ((usual, {}), (0, {"target": 0}), (1, {"target": 1})):
        found = only(ask(why, {"x": cancer.x[:3]}, **parameters))
        assert (found["target"], found["feature_names"]) == (target, cancer.names)
        for index, curve in enumerate(found["curves"]):
            assert curve["feature"] == cancer.names[index]
            np.testing.assert_allclose(curve["grid"], expected["feature_values"][index])
            np.testing.assert_allclose(
                curve["values"], expected["ale_values"][index][:, target], atol=1e-6
            )
    with pytest.raises(InvalidRequest, match="'target' is 2"):
        ask(why, {"x": cancer.x[:1]}, target=2)


def test_partial_dependence(cancer, model, sample):
    args = {"features": cancer.names[1:3], "grid_resolution": 20, "percentiles": [0.1, 0.9]}
    model.calls.clear()
    why = explainer(model, cancer.root, "partial_dependence", data="sample.npz", args=args)
    assert model.calls == [100, 2000, 2000]
    direct = library.PartialDependence(cancer.forest.predict_proba, cancer.names)
    expected = direct.explain(
        sample, features=[1, 2], grid_resolution=20, percentiles=(0.1, 0.9)
    ).data
    found = only(ask(why, {"x": cancer.x[:1]}, target=1))
    for index, curve in enumerate(found["curves"]):
        assert curve["feature"] == cancer.names[1 + index]
        np.testing.assert_allclose(curve["grid"], expected["feature_values"][index])
        np.testing.assert_allclose(curve["values"], expected["pd_values"][index][1], atol=1e-6)
    assert "ice_values" not in found or found["ice_values"] is None


def test_each_row_s_own_curve(cancer, model, sample):
    args = {"features": cancer.names[:1], "grid_resolution": 5, "kind": "both"}
    why = explainer(model, cancer.root, "partial_dependence", data="sample.npz", args=args)
    direct = library.PartialDependence(cancer.forest.predict_proba, cancer.names)
    expected = direct.explain(sample, features=[0], grid_resolution=5, kind="both").data
    found = only(ask(why, {"x": cancer.x[:1]}))
    np.testing.assert_allclose(found["library"]["ice_values"], expected["ice_values"], atol=1e-6)
    np.testing.assert_allclose(found["library"]["pd_values"], expected["pd_values"], atol=1e-6)


@pytest.mark.parametrize("method", ["importance", "interaction"])
def test_partial_dependence_variance(cancer, model, sample, method):
    args = {"features": cancer.names[:3], "grid_resolution": 6, "method": method}
    why = explainer(model, cancer.root, "partial_dependence_variance", data="sample.npz", args=args)
    pairs = [(0, 1), (0, 2), (1, 2)]
    features = [0, 1, 2] if method == "importance" else pairs
    direct = library.PartialDependenceVariance(cancer.forest.predict_proba, cancer.names)
    expected = direct.explain(sample, features=features, method=method, grid_resolution=6).data
    found = only(ask(why, {"x": cancer.x[:1]}, target=0))
    values = expected[f"feature_{method}"][0]
    np.testing.assert_allclose(found["attributions"], values, atol=1e-6)
    if method == "importance":
        assert found["feature_names"] == cancer.names[:3]
        np.testing.assert_allclose(
            found["curves"][2]["values"], expected["pd_values"][2][0], atol=1e-6
        )
    else:
        first, second, third = cancer.names[:3]
        assert found["feature_names"] == [
            f"{first} × {second}", f"{first} × {third}", f"{second} × {third}",
        ]  # fmt: skip


SCORES = [
    (["f1", "accuracy"], None, ["f1", "accuracy"], "predict"),
    (["accuracy"], None, ["accuracy"], "predict_proba"),
    (["log_loss"], ["log_loss"], None, "predict_proba"),
    (["roc_auc"], None, ["roc_auc"], "predict_proba"),
    (["r2", "mean_squared_error"], ["mean_squared_error"], ["r2"], "predict"),
]


@pytest.mark.parametrize(
    ("how", "metrics", "losses", "scores", "method"),
    [
        *(("estimate", *one) for one in SCORES),
        ("exact", *SCORES[0]),
        *(pytest.param("exact", *one, marks=pytest.mark.nightly) for one in SCORES[1:]),
    ],
)
def test_permutation_importance(cancer, sample, metrics, losses, scores, method, how):
    args = {"metrics": metrics, "n_repeats": 4, "kind": "difference", "method": how}
    args |= {"features": cancer.names[:2]}
    model = served(cancer, method)
    why = explainer(model, cancer.root, "permutation_importance", data="sample.npz", args=args)
    predictor = {
        "log_loss": cancer.forest.predict_proba,
        "roc_auc": lambda x: cancer.forest.predict_proba(x)[:, 1],
    }.get(metrics[0], cancer.forest.predict)
    direct = library.PermutationImportance(predictor, losses, scores, cancer.names)
    np.random.seed(3)
    expected = direct.explain(
        sample, cancer.y[:100], features=[0, 1], n_repeats=4, kind="difference", method=how
    ).data
    found = only(ask(why, {"x": cancer.x[:1]}, seed=3))
    importance = expected["feature_importance"][expected["metric_names"].index(metrics[0])]
    means = [one["mean"] if isinstance(one, dict) else one for one in importance]
    np.testing.assert_allclose(found["attributions"], means, atol=1e-6)
    assert found["library"]["metric_names"] == metrics
    assert found["feature_names"] == cancer.names[:2]
    if how == "estimate":
        assert max(model.calls) == 400


def test_another_seed_shuffles_otherwise(cancer, model):
    args = {"metrics": ["accuracy"], "n_repeats": 3}
    why = explainer(model, cancer.root, "permutation_importance", data="sample.npz", args=args)
    x = {"x": cancer.x[:1]}
    first, second, again = (only(ask(why, x, seed=seed)) for seed in (1, 2, 1))
    assert first == again
    assert first["attributions"] != second["attributions"]
    with pytest.raises(InvalidRequest, match="speaks of all classes"):
        ask(why, x, target=1)


def test_labels_in_words_of_a_table(tmp_path):
    (tmp_path / "part.py").write_text(
        "import numpy as np\nclass Part:\n    def predict(self, x):\n"
        "        return np.where(x[:, 0] > 0, b'yes', b'no').astype(object)\n"
    )
    draw = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    rows = [f"{a},{'yes' if a > 0 else 'no'},{b}" for a, b in draw.tolist()]
    (tmp_path / "sample.csv").write_text("\n".join(["age,truth,size", *rows]))
    model = Local(node(type="predictor", component="part.py:Part"), tmp_path, {"x": None})
    args = {"metrics": ["accuracy"], "label": "truth", "kind": "difference"}
    why = explainer(model, tmp_path, "permutation_importance", data="sample.csv", args=args)
    found = only(ask(why, {"x": draw[:1]}))
    assert found["feature_names"] == ["age", "size"]
    assert found["attributions"][0] > 0.2
    assert found["attributions"][1] == 0


def test_categories_are_points_of_the_curve(tmp_path):
    (tmp_path / "part.py").write_text(
        "class Part:\n    def predict(self, x):\n        return x[:, 0] * 2.0 + x[:, 1]\n"
    )
    (tmp_path / "sample.csv").write_text("kind,size\n0,1\n1,1\n0,2\n1,4\n")
    model = Local(node(type="predictor", component="part.py:Part"), tmp_path, {"x": None})
    args = {"categorical_names": {"kind": ["cat", "dog"]}}
    why = explainer(model, tmp_path, "partial_dependence", data="sample.csv", args=args)
    found = only(ask(why, {"x": np.zeros((1, 2))}))
    assert found["target"] == "output"
    assert found["curves"][0] == {"feature": "kind", "grid": ["cat", "dog"], "values": [2.0, 4.0]}


@pytest.mark.parametrize(
    ("method", "fields", "message"),
    [
        ("ale", {}, "data: ale needs data, a sample to fit on: .npy, .npz or .csv$"),
        ("ale", {"data": "sample.npz", "model": "m"}, "model: ale has nothing fitted"),
        ("ale", {"data": "sample.npz", "args": {"min_bin_points": 0}}, "min_bin_points: must be"),
        ("ale", {"data": "sample.npz", "args": {"features": ["z"]}}, "there is no feature 'z'"),
        ("partial_dependence", {"data": "few.npy", "args": {"grid_resolution": 1}}, "at least 2"),
        ("partial_dependence", {"data": "few.npy", "args": {"percentiles": [0.9, 0.1]}},
         "percentiles: must be two numbers"),
        ("partial_dependence", {"data": "few.npy", "args": {"percentiles": [0.5, 0.5001],
                                "grid_resolution": 2}}, "too close to each other"),
        ("partial_dependence_variance",
         {"data": "few.npy", "args": {"method": "interaction", "features": ["x0"]}},
         "at least two features"),
        ("permutation_importance", {"data": "sample.npz"}, "needs the argument 'metrics'"),
        ("permutation_importance", {"data": "sample.npz", "args": {"metrics": []}},
         "at least 1 long"),
        ("permutation_importance", {"data": "sample.npz", "args": {"metrics": ["f2"]}}, "one of"),
        ("permutation_importance", {"data": "sample.npz", "args": {"metrics": ["r2", "f1"]}},
         "some want classes and some numbers: split"),
        ("permutation_importance", {"data": "few.npy", "args": {"metrics": ["f1"]}},
         "needs the truth of each row"),
        ("permutation_importance", {"data": "sample.npz",
                                    "args": {"metrics": ["f1"], "n_repeats": 0}}, "at least 1"),
        ("permutation_importance", {"data": "few.npy", "args": {"metrics": ["f1"], "label": "y"}},
         "'label' names a column of a .csv"),
    ],
)  # fmt: skip
def test_mistakes_are_named(cancer, model, method, fields, message):
    with pytest.raises(REFUSED, match=message):
        explainer(model, cancer.root, method, **fields)


@pytest.mark.parametrize("method", METHODS)
def test_what_they_fit(method):
    fits = registry.get("explainer", method).fits
    assert fits(None) is None
    assert fits(node(type="predictor", component="a.py:A")) is None
    assert method in fits(node(type="predictor", runtime="huggingface"))


def test_curves_over_texts(flats):
    why = explainer(flats.model(), flats.root, "partial_dependence", data="sample.csv")
    district, rooms, _ = only(ask(why, flats.x))["curves"]
    assert (district["feature"], district["grid"]) == ("district", ["north", "south", "west"])
    np.testing.assert_allclose(np.array(district["values"]) - district["values"][0], [0, 3, 10])
    assert rooms["grid"] == [1, 2, 3]


def test_the_importance_of_texts(flats):
    truth = flats.model()(
        {
            "district": np.array([row[0] for row in flats.rows], dtype=object),
            "rooms": np.array([row[1] for row in flats.rows]),
            "area": np.array([[row[2]] for row in flats.rows], np.float32),
        }
    )["output"]
    lines = (flats.root / "sample.csv").read_text().splitlines()
    labelled = [f"{line},{rent}" for line, rent in zip(lines, ["rent", *truth], strict=True)]
    (flats.root / "truth.csv").write_text("\n".join(labelled))
    args = {"label": "rent", "metrics": ["mean_squared_error"], "kind": "difference"}
    why = explainer(
        flats.model(), flats.root, "permutation_importance", data="truth.csv", args=args
    )
    found = only(ask(why, flats.x))
    district, rooms, area = found["attributions"]
    assert district > max(rooms, area) > min(rooms, area) > 0


def test_effects_over_texts_are_refused(flats):
    with pytest.raises(REFUSED, match=r"but district are texts; .*features: \[rooms, area\]"):
        explainer(flats.model(), flats.root, "ale", data="sample.csv")
    args = {"features": ["rooms", "area"]}
    why = explainer(flats.model(), flats.root, "ale", data="sample.csv", args=args)
    rooms, _ = only(ask(why, flats.x))["curves"]
    np.testing.assert_allclose(np.diff(rooms["values"]), 2, atol=1e-6)
