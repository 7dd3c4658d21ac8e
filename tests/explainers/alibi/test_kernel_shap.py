"""Kernel SHAP over models of breast cancer, against the library called directly."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components import registry
from anabranch.errors import InvalidRequest
from tests.examples import examples
from tests.explainers.local import REFUSED, Local, ask, explainer, node, tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    library = pytest.importorskip("alibi.explainers")
pytestmark = pytest.mark.filterwarnings("ignore")

ARGS = {"nsamples": 64}


@pytest.fixture(scope="module")
def model(cancer):
    spec = node(type="predictor", runtime="sklearn", model="forest.joblib", method="predict_proba")
    return Local(spec, cancer.root, {"x": tensor("FP32", 8)})


@pytest.fixture(scope="module")
def why(cancer, model):
    return explainer(model, cancer.root, "kernel_shap", data="sample.npz", args=ARGS)


def direct(cancer, rows, seed=0, nsamples=64, **options):
    found = library.KernelShap(cancer.forest.predict_proba, seed=seed, **options)
    found.fit(cancer.x[:100].astype(np.float64))
    return found.explain(rows.astype(np.float64), silent=True, nsamples=nsamples).data


@pytest.mark.parametrize("seed", [0, 7])
def test_it_says_what_the_library_says(cancer, why, seed):
    rows = cancer.x[[3, 200, 400]]
    expected = direct(cancer, rows, seed)
    found = ask(why, {"x": rows}, seed=seed)
    classes = cancer.forest.predict(rows)
    assert [one["target"] for one in found] == classes.tolist()
    for row, one in enumerate(found):
        target = classes[row]
        np.testing.assert_allclose(
            one["attributions"], expected["shap_values"][target][row], atol=1e-6
        )
        assert one["base_value"] == pytest.approx(expected["expected_value"][target], abs=1e-6)
        assert one["library"]["shap_values"][0] == pytest.approx(
            expected["shap_values"][0][row].tolist(), abs=1e-6
        )
        assert one["feature_names"] == cancer.names
        assert (one["method"], one["seed"]) == ("kernel_shap", seed)


def test_equal_seeds_give_equal_answers_and_others_do_not(cancer, why):
    x = {"x": cancer.x[:1]}
    assert ask(why, x, seed=3) == ask(why, x, seed=3)
    assert ask(why, x, seed=3)[0]["attributions"] != ask(why, x, seed=4)[0]["attributions"]


def test_the_target_may_be_named(cancer, why):
    x = {"x": cancer.x[:1]}
    zero, one = (ask(why, x, target=target)[0] for target in (0, 1))
    np.testing.assert_allclose(zero["attributions"], -np.array(one["attributions"]), atol=1e-9)
    assert (zero["target"], one["target"]) == (0, 1)
    assert zero["prediction"] + one["prediction"] == pytest.approx(1)
    with pytest.raises(InvalidRequest, match="'target' is 2, but the explained node gives 2"):
        ask(why, x, target=2)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"target": "1"}, "parameter 'target' must be a whole number .* not '1'"),
        ({"target": True}, "parameter 'target' must be a whole number .* not True"),
        ({"seed": -1}, "parameter 'seed' must be a whole number from 0 to 4294967295, not -1"),
        ({"seed": 2**32}, "parameter 'seed' must be a whole number"),
        ({"seed": 0.5}, "parameter 'seed' must be a whole number"),
    ],
)
def test_parameters_are_strict(cancer, why, parameters, message):
    with pytest.raises(InvalidRequest, match=message):
        ask(why, {"x": cancer.x[:1]}, **parameters)


@pytest.mark.parametrize("shape", [(1, 7), (8,), (1, 2, 4)])
def test_rows_must_have_the_features(why, shape):
    with pytest.raises(
        InvalidRequest, match=r"kernel_shap explains numbers \[-1, 8\], not float32"
    ):
        ask(why, {"x": np.zeros(shape, np.float32)})


def test_the_global_generator_comes_back_as_it_was(cancer, why):
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    ask(why, {"x": cancer.x[:1]})
    np.testing.assert_array_equal(np.random.random(3), expected)


def test_the_model_is_asked_once_for_all_that_is_drawn_for_a_row(cancer, model, why):
    model.calls.clear()
    ask(why, {"x": cancer.x[:2]})
    assert max(model.calls) == 64 * 100
    assert sorted(model.calls)[:-2] == [1, 1, 2]


LINEAR = """
import numpy as np

class Part:
    def __init__(self, weights, kind):
        self.weights, self.kind = np.array(weights), kind

    def predict(self, x):
        score = x @ self.weights
        if self.kind == "column":
            return score[:, None]
        p = 1 / (1 + np.exp(-score))
        return score if self.kind == "number" else np.stack([1 - p, p], axis=1)
"""


@settings(max_examples=examples(25), deadline=None)
@given(
    weights=st.lists(st.floats(-2, 2), min_size=3, max_size=3),
    rows=st.lists(st.lists(st.floats(-3, 3), min_size=3, max_size=3), min_size=1, max_size=3),
    kind=st.sampled_from(["number", "column", "classes"]),
    link=st.sampled_from(["identity", "logit"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_values_add_up_to_the_prediction(tmp_path_factory, weights, rows, kind, link, seed):
    root = tmp_path_factory.mktemp("linear")
    (root / "part.py").write_text(LINEAR)
    np.save(root / "sample.npy", np.random.default_rng(0).normal(size=(10, 3)))
    spec = node(type="predictor", component="part.py:Part", args={"weights": weights, "kind": kind})
    model = Local(spec, root, {"x": tensor("FP64", 3)})
    link = link if kind == "classes" else "identity"
    why = explainer(model, root, "kernel_shap", data="sample.npy", args={"link": link})
    x = np.array(rows)
    answers = model({"x": x})["output"].reshape(len(x), -1)
    for row, one in enumerate(ask(why, {"x": x}, seed=seed)):
        total = one["base_value"] + sum(one["attributions"])
        assert total == pytest.approx(one["prediction"], abs=1e-6)
        score = answers[row, one["target"] if kind == "classes" else 0]
        unit = np.log(score / (1 - score)) if link == "logit" else score
        assert one["prediction"] == pytest.approx(unit, abs=1e-6)
        assert one["feature_names"] == ["x0", "x1", "x2"]


SURE = """
import numpy as np

class Sure:
    def predict(self, x):
        p = np.where(x[:, 0] > 0, 1.0, 0.0)
        return np.stack([1 - p, p], axis=1)

class Score:
    def predict(self, x):
        return 3 * x[:, 0]
"""


def logit(folder, component):
    (folder / "sure.py").write_text(SURE)
    np.save(folder / "sample.npy", np.random.default_rng(0).normal(size=(20, 2)))
    model = Local(node(type="predictor", component=component), folder, {"x": tensor("FP64", 2)})
    args = {"link": "logit", "nsamples": 64}
    return explainer(model, folder, "kernel_shap", data="sample.npy", args=args)


def test_log_odds_of_probabilities_of_0_and_1_are_finite(tmp_path):
    why = logit(tmp_path, "sure.py:Sure")
    for one, sign in zip(
        ask(why, {"x": np.array([[2.0, 0], [-2.0, 0]])}, target=1), (1, -1), strict=True
    ):
        assert one["prediction"] == pytest.approx(sign * np.log(1e9), rel=1e-4)
        total = one["base_value"] + sum(one["attributions"])
        assert total == pytest.approx(one["prediction"], abs=1e-6)


def test_log_odds_need_probabilities(tmp_path):
    with pytest.raises(ValueError, match="link: logit takes probabilities, and the explained node"):
        logit(tmp_path, "sure.py:Score")


def test_all_rows_of_a_regressor_explain_the_same_output(tmp_path):
    """The highest of several outputs says nothing, other than that of several classes."""
    joblib = pytest.importorskip("joblib")
    linear = pytest.importorskip("sklearn.linear_model")
    x = np.random.default_rng(0).normal(size=(30, 2))
    joblib.dump(
        linear.LinearRegression().fit(x, np.stack([x[:, 0], x[:, 1]], 1)), tmp_path / "m.joblib"
    )
    np.save(tmp_path / "sample.npy", x)
    spec = node(type="predictor", runtime="sklearn", model="m.joblib")
    model = Local(spec, tmp_path, {"x": tensor("FP64", 2)})
    why = explainer(model, tmp_path, "kernel_shap", data="sample.npy", args={"nsamples": 64})
    rows = {"x": np.array([[1.0, 0.0], [0.0, 1.0]])}
    assert [one["target"] for one in ask(why, rows)] == [0, 0]
    assert [one["target"] for one in ask(why, rows, target=1)] == [1, 1]


def test_groups_are_added_as_one(cancer, model):
    groups = {"size": cancer.names[:4], "shape": cancer.names[4:]}
    why = explainer(
        model, cancer.root, "kernel_shap", data="few.npy",
        args={"groups": groups, "feature_names": cancer.names},
    )  # fmt: skip
    (found,) = ask(why, {"x": cancer.x[:1]})
    assert found["feature_names"] == ["size", "shape"]
    assert len(found["attributions"]) == 2
    total = found["base_value"] + sum(found["attributions"])
    assert total == pytest.approx(found["prediction"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "data: kernel_shap needs data, a sample to fit on: .npy, .npz or .csv, or a model"),
        ({"data": "sample.npz", "model": "m"}, "data: the model is a fitted explainer"),
        ({"data": "sample.npz", "args": {"nsamples": 0}}, "args.nsamples: must be at least 1"),
        ({"data": "sample.npz", "args": {"link": "log"}}, "'log' is not one of identity, logit"),
        ({"data": "sample.npz", "args": {"samples": 3}}, "unknown argument .*nsamples"),
        ({"data": "sample.npz", "args": {"input": "y"}}, "no input 'y'.*available: x"),
        ({"data": "sample.npz", "args": {"feature_names": ["a"]}}, "1 names of features, but 8"),
        (
            {"data": "sample.npz", "args": {"groups": {"a": ["mean_radios"]}}},
            "no feature 'mean_radios' .did you mean 'mean_radius'",
        ),
        ({"data": "gone.npz"}, "there is no file 'gone.npz'"),
    ],
)
def test_mistakes_are_named(cancer, model, fields, message):
    with pytest.raises(REFUSED, match=message) as raised:
        explainer(model, cancer.root, "kernel_shap", **fields)
    assert str(cancer.root) not in str(raised.value)


def test_several_outputs_are_told_apart_by_name(cancer):
    (cancer.root / "two.py").write_text(
        "class Part:\n    def predict(self, x):\n        return {'a': x[:, 0], 'b': x[:, 1]}\n"
    )
    spec = node(type="predictor", component="two.py:Part")
    model = Local(spec, cancer.root, {"x": tensor("FP32", 8)}, {"a": None, "b": None})
    with pytest.raises(REFUSED, match=r"has the outputs a, b; name one: args: \{output"):
        explainer(model, cancer.root, "kernel_shap", data="few.npy")
    why = explainer(model, cancer.root, "kernel_shap", data="few.npy", args={"output": "b"})
    (found,) = ask(why, {"x": cancer.x[:1]})
    assert found["target"] == "b"
    assert found["prediction"] == pytest.approx(cancer.x[0, 1])
    with pytest.raises(InvalidRequest, match="gives 1 score"):
        ask(why, {"x": cancer.x[:1]}, target=1)
    model.outputs = None
    with pytest.raises(ValueError, match="gave the outputs a, b; name one"):
        explainer(model, cancer.root, "kernel_shap", data="few.npy")


def test_inputs_of_one_feature_each_are_columns(cancer, tmp_path):
    (tmp_path / "sum.py").write_text(
        "class Part:\n    def predict(self, age, size):\n        return age + 2 * size[:, 0]\n"
    )
    (tmp_path / "sample.csv").write_text("age,size\n0,0\n1,1\n2,4\n")
    spec = node(type="predictor", component="sum.py:Part", inputs={"age": "age", "size": "size"})
    types = {"age": tensor("INT64"), "size": tensor("FP32", 1)}
    model = Local(spec, tmp_path, types)
    why = explainer(model, tmp_path, "kernel_shap", data="sample.csv")
    (found,) = ask(why, {"age": np.array([3]), "size": np.array([[1.0]], np.float32)})
    assert found["feature_names"] == ["age", "size"]
    np.testing.assert_allclose(found["attributions"], [2, 2 * (1 - 5 / 3)], atol=1e-6)
    wide = {"age": np.array([3]), "size": np.zeros((1, 2))}
    with pytest.raises(InvalidRequest, match=r"input 'size' has shape \[1, 2\], expected"):
        ask(why, wide)
    with pytest.raises(REFUSED, match=r"more inputs than the one that args.input names"):
        explainer(model, tmp_path, "kernel_shap", data="sample.csv", args={"input": "size"})


def test_a_model_of_labels_in_text_cannot_be_explained(cancer, tmp_path):
    (tmp_path / "text.py").write_text(
        "import numpy as np\nclass Part:\n    def predict(self, x):\n"
        "        return np.array(['a'] * len(x), dtype=object)\n"
    )
    np.save(tmp_path / "x.npy", cancer.x[:5])
    model = Local(node(type="predictor", component="text.py:Part"), tmp_path, {"x": None})
    with pytest.raises(ValueError, match="gives BYTES, but this method explains numbers"):
        explainer(model, tmp_path, "kernel_shap", data="x.npy")


def test_what_it_fits():
    fits = registry.get("explainer", "kernel_shap").fits
    assert fits(None) is None
    assert fits(node(type="transformer", method="softmax")) is None
    assert "takes texts" in fits(node(type="predictor", runtime="huggingface"))


def test_texts_and_numbers_by_name(flats):
    why = explainer(flats.model(), flats.root, "kernel_shap", data="sample.csv")
    west, north = ask(why, flats.x)
    assert west["feature_names"] == ["district", "rooms", "area"]
    # The model adds up, so each share is the value less the mean of the sample.
    area = np.mean([0.5, 1, 4])
    np.testing.assert_allclose(west["attributions"], [10 - 13 / 3, 2 - 4, 0.5 - area], atol=1e-6)
    np.testing.assert_allclose(north["attributions"], [-13 / 3, 6 - 4, 4 - area], atol=1e-6)
    assert west["prediction"] == pytest.approx(12.5)
    with pytest.raises(InvalidRequest, match=r"input 'district' is 'wset', which .* mean 'west'"):
        ask(why, {**flats.x, "district": np.array(["wset", "west"], dtype=object)})
    with pytest.raises(InvalidRequest, match="different numbers of rows: district 2, rooms 1"):
        ask(why, {**flats.x, "rooms": np.array([1])})


def test_texts_that_the_sample_does_not_have_may_be_listed(flats):
    lines = (flats.root / "sample.csv").read_text().splitlines()
    few = [line for line in lines if ",west," not in line]
    (flats.root / "few.csv").write_text("\n".join(few))
    args = {"categorical_names": {"district": ["north", "south", "west"]}}
    why = explainer(flats.model(), flats.root, "kernel_shap", data="few.csv", args=args)
    assert ask(why, flats.x)[0]["attributions"][0] == pytest.approx(10 - 1.5)
    args = {"categorical_names": {"district": ["north"]}}
    with pytest.raises(REFUSED, match="input 'district' is 'south', which the explainer's sample"):
        explainer(flats.model(), flats.root, "kernel_shap", data="few.csv", args=args)


def test_texts_where_they_cannot_be_explained(flats, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 3)))
    with pytest.raises(REFUSED, match=r"numbers, but district are BYTES: take a \.csv"):
        explainer(flats.model(), flats.root, "kernel_shap", data="x.npy")
    (tmp_path / "echo.py").write_text("class Part:\n    def predict(self, x):\n        return x")
    model = Local(
        node(type="predictor", component="echo.py:Part"), tmp_path, {"x": tensor("BYTES", 3)}
    )
    with pytest.raises(REFUSED, match="inputs of one feature each, but input 'x' is one tensor of"):
        explainer(model, tmp_path, "kernel_shap", data="x.npy")
    (tmp_path / "lacks.csv").write_text("district,area\nwest,1\n")
    with pytest.raises(REFUSED, match="it lacks rooms, inputs of the explained model; it has dist"):
        explainer(flats.model(), flats.root, "kernel_shap", data="lacks.csv")


def test_a_pipeline_of_a_frame(tmp_path):
    """Equal to Kernel SHAP over the pipeline, called directly with codes of the texts."""
    pandas = pytest.importorskip("pandas")
    compose = pytest.importorskip("sklearn.compose")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    random = np.random.default_rng(3)
    frame = pandas.DataFrame(
        {"age": random.integers(18, 80, 60), "job": random.choice(["cook", "judge", "pilot"], 60)}
    )
    truth = (frame.age + 20 * (frame.job == "judge") > 55).astype(int)
    encoder = compose.make_column_transformer(
        (OneHotEncoder(), ["job"]), (StandardScaler(), ["age"])
    )
    pipeline = make_pipeline(encoder, LogisticRegression()).fit(frame, truth)
    pytest.importorskip("joblib").dump(pipeline, tmp_path / "model.joblib")
    frame.to_csv(tmp_path / "sample.csv", index=False)
    spec = node(
        type="predictor", runtime="sklearn", model="model.joblib", method="predict_proba",
        inputs={"job": "job", "age": "age"},
    )  # fmt: skip
    model = Local(spec, tmp_path, {"job": tensor("BYTES"), "age": tensor("INT64")})
    why = explainer(model, tmp_path, "kernel_shap", data="sample.csv")
    (found,) = ask(why, {"job": np.array(["judge"], dtype=object), "age": np.array([60])}, target=1)

    jobs = ["cook", "judge", "pilot"]
    codes = np.column_stack([frame.job.map(jobs.index), frame.age]).astype(float)

    def predictor(x):
        named = {"age": x[:, 1].astype(int), "job": [jobs[int(code)] for code in x[:, 0]]}
        return pipeline.predict_proba(pandas.DataFrame(named))

    direct = library.KernelShap(predictor, seed=0).fit(codes)
    expected = direct.explain(np.array([[1.0, 60.0]]), silent=True).data
    assert found["feature_names"] == ["job", "age"]
    np.testing.assert_allclose(found["attributions"], expected["shap_values"][1][0], atol=1e-6)
    assert all(found["attributions"])
