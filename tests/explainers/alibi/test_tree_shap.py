"""Tree SHAP over forests and boosted trees: adds up, and says what the libraries say."""

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
joblib = pytest.importorskip("joblib")
datasets = pytest.importorskip("sklearn.datasets")
ensemble = pytest.importorskip("sklearn.ensemble")
tree = pytest.importorskip("sklearn.tree")
pipeline = pytest.importorskip("sklearn.pipeline")
preprocessing = pytest.importorskip("sklearn.preprocessing")
linear_model = pytest.importorskip("sklearn.linear_model")
pytestmark = pytest.mark.filterwarnings("ignore")

IRIS = datasets.load_iris(return_X_y=True)
DIABETES = datasets.load_diabetes(return_X_y=True)
TREES = {
    name: getattr(ensemble if hasattr(ensemble, name) else tree, name)
    for kind in ("Classifier", "Regressor")
    for name in (
        f"RandomForest{kind}",
        f"ExtraTrees{kind}",
        f"GradientBoosting{kind}",
        f"HistGradientBoosting{kind}",
        f"DecisionTree{kind}",
        f"ExtraTree{kind}",
    )
}


def sklearn_model(root, estimator, width, method="predict"):
    joblib.dump(estimator, root / "model.joblib")
    spec = node(type="predictor", runtime="sklearn", model="model.joblib", method=method)
    return Local(spec, root, {"x": tensor("FP64", width)})


def adds_up(found, rtol=1e-6):
    for one in found:
        total = one["base_value"] + sum(one["attributions"])
        assert total == pytest.approx(one["prediction"], rel=rtol, abs=rtol)


@pytest.mark.parametrize("name", TREES)
def test_trees_of_sklearn(cancer, tmp_path, name):
    is_classifier = name.endswith("Classifier")
    x, y = (cancer.x.astype(np.float64), cancer.y) if is_classifier else DIABETES
    options = {} if "Tree" in name[-14:] or "Hist" in name else {"n_estimators": 10}
    estimator = TREES[name](random_state=0, **options).fit(x, y)
    why = explainer(sklearn_model(tmp_path, estimator, x.shape[1]), tmp_path, "tree_shap")
    found = ask(why, {"x": x[:5]})
    adds_up(found)
    expected = library.TreeShap(estimator).fit().explain(x[:5]).data
    if not is_classifier:
        np.testing.assert_allclose([one["prediction"] for one in found], estimator.predict(x[:5]))
        np.testing.assert_allclose(
            [one["attributions"] for one in found], expected["shap_values"][0], atol=1e-6
        )
        return
    assert [one["target"] for one in found] == estimator.predict(x[:5]).tolist()
    positive = ask(why, {"x": x[:5]}, target=1)
    np.testing.assert_allclose(
        [one["attributions"] for one in positive], expected["shap_values"][-1], atol=1e-6
    )
    margin = getattr(estimator, "decision_function", None)
    scores = margin(x[:5]) if margin is not None else estimator.predict_proba(x[:5])[:, 1]
    np.testing.assert_allclose([one["prediction"] for one in positive], scores, atol=1e-9)


@pytest.mark.parametrize("name", ["RandomForestClassifier", "HistGradientBoostingClassifier"])
def test_forests_of_three_classes(tmp_path, name):
    x, y = IRIS
    estimator = TREES[name](random_state=0).fit(x, y)
    why = explainer(sklearn_model(tmp_path, estimator, 4), tmp_path, "tree_shap")
    found = ask(why, {"x": x[::50]})
    adds_up(found)
    assert [one["target"] for one in found] == [0, 1, 2]
    assert found[0]["feature_names"] == ["x0", "x1", "x2", "x3"]
    with pytest.raises(InvalidRequest, match="'target' is 3, but the explained node gives 3"):
        ask(why, {"x": x[:1]}, target=3)
    with pytest.raises(InvalidRequest, match=r"tree_shap explains numbers \[-1, 4\]"):
        ask(why, {"x": x[:1, :3]})


def test_trees_of_sklearn_by_columns_in_any_order(cancer, tmp_path):
    pandas = pytest.importorskip("pandas")
    x, names = cancer.x[:, :3].astype(np.float64), ["a", "b", "c"]
    forest = ensemble.RandomForestClassifier(5, random_state=0)
    forest.fit(pandas.DataFrame(x, columns=names), cancer.y)
    whole = explainer(sklearn_model(tmp_path, forest, 3), tmp_path, "tree_shap")
    inputs = {"c": "c", "a": "a", "b": "b"}
    spec = node(type="predictor", runtime="sklearn", model="model.joblib", inputs=inputs)
    columns = Local(spec, tmp_path, dict.fromkeys(inputs, tensor("FP64")))
    by_name = explainer(columns, tmp_path, "tree_shap")
    found = ask(by_name, {name: x[:4, index] for index, name in enumerate(names)})
    expected = ask(whole, {"x": x[:4]})
    assert [one["feature_names"] for one in found] == [names] * 4
    assert [one["attributions"] for one in found] == [one["attributions"] for one in expected]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: linear_model.LogisticRegression().fit(x, y), "the model is LogisticRegr"),
        (
            lambda x, y: pipeline.make_pipeline(
                preprocessing.StandardScaler(), tree.DecisionTreeClassifier()
            ).fit(x, y),
            "the model is Pipeline",
        ),
        (
            lambda x, y: ensemble.GradientBoostingClassifier(n_estimators=3).fit(x, y),
            "GradientBoostingClassifier is only supported for binary classification",
        ),
    ],
)
def test_what_is_not_made_of_trees(tmp_path, make, message):
    model = sklearn_model(tmp_path, make(*IRIS), 4)
    with pytest.raises(REFUSED, match=message) as raised:
        explainer(model, tmp_path, "tree_shap")
    assert "methods that can: ale, anchor_image, anchor_tabular" in str(raised.value)
    assert "kernel_shap" in str(raised.value)
    assert str(raised.value).count("tree_shap") == 1


def boosted(cancer, library_name, root):
    """Train a small model of each library; its file, raw scores and its own SHAP values."""
    x, y = cancer.x, cancer.y
    if library_name == "xgboost":
        xgboost = pytest.importorskip("xgboost")
        data = xgboost.DMatrix(x, y, feature_names=cancer.names)
        booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3}, data, 10)
        booster.save_model(root / "model.ubj")
        return (
            "model.ubj",
            booster.predict(data, output_margin=True),
            booster.predict(data, pred_contribs=True),
        )
    if library_name == "lightgbm":
        lightgbm = pytest.importorskip("lightgbm")
        data = lightgbm.Dataset(x, y, feature_name=cancer.names)
        booster = lightgbm.train({"objective": "binary", "verbose": -1}, data, 10)
        booster.save_model(root / "model.txt")
        wrapped = library.TreeShap(booster).fit().explain(x).data
        values = np.hstack(
            [wrapped["shap_values"][1], np.full((len(x), 1), wrapped["expected_value"][1])]
        )
        return "model.txt", booster.predict(x, raw_score=True), values
    catboost = pytest.importorskip("catboost")
    options = {"iterations": 10, "depth": 3, "verbose": False, "allow_writing_files": False}
    classifier = catboost.CatBoostClassifier(**options).fit(
        catboost.Pool(x, y, feature_names=cancer.names)
    )
    classifier.save_model(root / "model.cbm")
    wrapped = library.TreeShap(classifier).fit().explain(x).data
    base = np.full((len(x), 1), np.ravel(wrapped["expected_value"])[0])
    raw = classifier.predict(x, prediction_type="RawFormulaVal")
    return "model.cbm", raw, np.hstack([wrapped["shap_values"][0], base])


def test_trees_with_several_values_in_a_leaf_are_refused_at_load(tmp_path):
    """XGBoost would answer each request with an error of its C++ code."""
    xgboost = pytest.importorskip("xgboost")
    x, y = IRIS
    data = xgboost.DMatrix(x, np.column_stack([y, y]))
    options = {"multi_strategy": "multi_output_tree", "tree_method": "hist"}
    xgboost.train(options, data, 3).save_model(tmp_path / "model.ubj")
    spec = node(type="predictor", runtime="xgboost", model="model.ubj")
    model = Local(spec, tmp_path, {"x": tensor("FP32", 4)})
    with pytest.raises(REFUSED, match="the model is one without SHAP values") as raised:
        explainer(model, tmp_path, "tree_shap")
    assert "IsMultiTarget" in str(raised.value) and "Stack trace" not in str(raised.value)


@pytest.mark.parametrize("runtime", ["xgboost", "lightgbm", "catboost"])
def test_boosted_trees(cancer, tmp_path, runtime):
    file, raw, values = boosted(cancer, runtime, tmp_path)
    spec = node(type="predictor", runtime=runtime, model=file, method="predict_proba")
    model = Local(spec, tmp_path, {"x": tensor("FP32", 8)})
    why = explainer(model, tmp_path, "tree_shap")
    found = ask(why, {"x": cancer.x[:50]}, target=1)
    adds_up(found, 1e-4)
    np.testing.assert_allclose([one["prediction"] for one in found], raw[:50], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        [one["attributions"] for one in found], values[:50, :-1], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        [one["base_value"] for one in found], values[:50, -1], rtol=1e-5, atol=1e-5
    )
    assert found[0]["feature_names"] == cancer.names
    free = ask(why, {"x": cancer.x[:50]})
    assert [one["target"] for one in free] == (raw[:50] > 0).astype(int).tolist()
    assert model.calls == []


def test_boosted_trees_by_columns_in_any_order(cancer, tmp_path):
    file, _, values = boosted(cancer, "xgboost", tmp_path)
    order = [3, 0, 1, 2, 7, 6, 5, 4]
    inputs = {cancer.names[index]: f"c{index}" for index in order}
    spec = node(type="predictor", runtime="xgboost", model=file, inputs=inputs)
    model = Local(spec, tmp_path, {name: tensor("FP32") for name in inputs})
    why = explainer(model, tmp_path, "tree_shap")
    columns = {cancer.names[index]: cancer.x[:3, index] for index in order}
    found = ask(why, columns, target=1)
    np.testing.assert_allclose([one["attributions"] for one in found], values[:3, :-1], atol=1e-5)
    assert found[0]["feature_names"] == cancer.names


def test_boosted_trees_of_three_classes(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    x, y = IRIS
    options = {"objective": "multi:softprob", "num_class": 3, "max_depth": 3}
    booster = xgboost.train(options, xgboost.DMatrix(x, y), 5)
    booster.save_model(tmp_path / "iris.json")
    spec = node(type="predictor", runtime="xgboost", model="iris.json", method="predict_proba")
    model = Local(spec, tmp_path, {"x": tensor("FP32", 4)})
    found = ask(explainer(model, tmp_path, "tree_shap"), {"x": x[::50].astype(np.float32)})
    adds_up(found, 1e-4)
    assert [one["target"] for one in found] == [0, 1, 2]
    with pytest.raises(REFUSED, match="there are 1 names of features, but 4 features"):
        explainer(model, tmp_path, "tree_shap", args={"feature_names": ["a"]})


@pytest.mark.parametrize("library", ["sklearn", "xgboost", "catboost"])
def test_all_rows_of_a_regressor_explain_the_same_output(tmp_path, library):
    x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    y = np.stack([x[:, 0], x[:, 1]], axis=1)
    if library == "sklearn":
        name, forest = "m.joblib", pytest.importorskip("sklearn.ensemble").RandomForestRegressor
        pytest.importorskip("joblib").dump(forest(5, random_state=0).fit(x, y), tmp_path / name)
    elif library == "xgboost":
        name, xgboost = "m.json", pytest.importorskip("xgboost")
        xgboost.XGBRegressor(n_estimators=5).fit(x, y).save_model(tmp_path / name)
    else:
        name, catboost = "m.cbm", pytest.importorskip("catboost")
        options = {"iterations": 5, "verbose": False, "allow_writing_files": False}
        model = catboost.CatBoostRegressor(loss_function="MultiRMSE", **options)
        model.fit(x, y).save_model(tmp_path / name)
    spec = node(type="predictor", runtime=library, model=name)
    why = explainer(Local(spec, tmp_path, {"x": tensor("FP32", 2)}), tmp_path, "tree_shap")
    rows = {"x": np.float32([[2, -2], [-2, 2]])}
    assert [one["target"] for one in ask(why, rows)] == [0, 0]
    assert [one["target"] for one in ask(why, rows, target=1)] == [1, 1]


def test_categories_of_catboost(tmp_path):
    catboost = pytest.importorskip("catboost")
    rows = [["a", 1.0], ["b", 2.0], ["a", 3.0], ["b", 4.0]] * 5
    pool = catboost.Pool(rows, [0, 1, 0, 1] * 5, cat_features=[0])
    options = {"iterations": 5, "verbose": False, "allow_writing_files": False}
    catboost.CatBoostClassifier(**options).fit(pool).save_model(tmp_path / "mixed.cbm")
    spec = node(type="predictor", runtime="catboost", model="mixed.cbm", method="predict_proba")
    model = Local(spec, tmp_path, {"x": tensor("BYTES", 2)})
    why = explainer(model, tmp_path, "tree_shap", args={"feature_names": ["kind", "size"]})
    found = ask(why, {"x": np.array([[b"a", b"1.0"], [b"b", b"2.0"]], dtype=object)})
    adds_up(found)
    assert [one["target"] for one in found] == [0, 1]


@settings(max_examples=examples(15), deadline=None)
@given(
    seed=st.integers(0, 1000),
    name=st.sampled_from([name for name in TREES if "Classifier" in name]),
    rows=st.lists(
        st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3), min_size=1, max_size=4
    ),
)
def test_values_add_up_for_any_small_forest(tmp_path_factory, seed, name, rows):
    root = tmp_path_factory.mktemp("forest")
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(60, 3))
    y = (x[:, 0] * x[:, 1] + draw.normal(size=60) > 0).astype(int)
    options = {"max_leaf_nodes": 5} | ({"n_estimators": 4} if "Forest" in name else {})
    estimator = TREES[name](random_state=seed, **options).fit(x, y)
    why = explainer(sklearn_model(root, estimator, 3), root, "tree_shap")
    for target in (0, 1):
        adds_up(ask(why, {"x": np.array(rows)}, target=target))


def test_what_it_fits():
    kind = registry.get("explainer", "tree_shap")
    assert kind.looks_inside
    for runtime in ("sklearn", "xgboost", "lightgbm", "catboost"):
        assert kind.fits(node(type="predictor", runtime=runtime, model="m")) is None
    assert "the whole graph is more than that" in kind.fits(None)
    for other in (
        node(type="predictor", runtime="torch", model="m"),
        node(type="predictor", component="a.py:A"),
        node(type="transformer", method="softmax"),
    ):
        assert "predictors of the runtimes sklearn, xgboost" in kind.fits(other)
    many = node(type="predictor", runtime="sklearn", model="{model}.skops", multiplex={})
    assert "a multiplexed node has many" in kind.fits(many)


def test_it_is_fitted_on_nothing():
    spec = node(type="explainer", method="tree_shap", data="x.npy", model="m")
    found = dict(registry.problems(spec))
    assert "has nothing fitted that could be loaded" in found[("model",)]
    assert "is fitted on nothing" in found[("data",)]
