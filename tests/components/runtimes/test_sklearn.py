from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.errors import LoadError

sklearn = pytest.importorskip("sklearn")
joblib = pytest.importorskip("joblib")
skops = pytest.importorskip("skops.io")

from sklearn.datasets import load_iris  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer, StandardScaler  # noqa: E402

X, Y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    forest = RandomForestClassifier(20, random_state=0, n_jobs=-1).fit(X, Y)
    line = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    joblib.dump(forest, folder / "forest.joblib")
    (folder / "forest.pkl").write_bytes(pickle.dumps(forest))
    skops.dump(line, folder / "line.skops")
    skops.dump(
        make_pipeline(FunctionTransformer(np.nan_to_num), line).fit(X, Y), folder / "odd.skops"
    )
    (folder / "disguised.skops").write_bytes(pickle.dumps(forest))
    (folder / "text.joblib").write_text("not a model")
    joblib.dump({"a": 1}, folder / "dict.joblib")
    return folder


@pytest.fixture
def predictor(node, root):
    def make(model, **fields):
        return bind("n", node(type="predictor", runtime="sklearn", model=model, **fields), root)

    return make


@pytest.mark.parametrize("model", ["forest.joblib", "forest.pkl"])
def test_a_forest_answers_as_it_does_itself(predictor, root, model):
    forest = joblib.load(root / "forest.joblib")
    array = X.copy()
    array.flags.writeable = False
    np.testing.assert_array_equal(predictor(model).call(x=array), forest.predict(X))
    probabilities = predictor(model, method="predict_proba").call(x=array)
    np.testing.assert_allclose(probabilities, forest.predict_proba(X))


def test_a_skops_pipeline(predictor, root):
    line = skops.load(root / "line.skops")
    values = predictor("line.skops", method="decision_function").call(x=X)
    np.testing.assert_allclose(values, line.decision_function(X))


def test_workers_are_set_on_every_part(predictor):
    assert predictor("forest.joblib").instance._model.n_jobs == 1
    assert predictor("forest.joblib", args={"n_jobs": 2}).instance._model.n_jobs == 2


def test_bf16_is_taken_as_the_numbers_that_it_is(predictor):
    rows = X[:5].astype(to_dtype("BF16"))
    for model in ("line.skops", "forest.joblib"):
        bound = predictor(model, method="predict_proba", inputs={"x": "x"})
        expected = bound.call(x=rows.astype(np.float32))
        np.testing.assert_array_equal(bound.call(x=rows), expected)


def test_the_number_of_features_is_checked(predictor):
    bound = predictor("forest.joblib")
    with pytest.raises(ValueError, match=r"shape \[2, 3\], expected \[-1, 4\]: .* 4 features"):
        bound.call(x=np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"shape \[4\], expected \[-1, 4\]"):
        bound.call(x=np.zeros(4))


def test_a_custom_class_of_the_bundle_is_found(bundle, node, tmp_path):
    source = (
        "class Doubles:\n"
        "    def predict(self, x):\n        return 2 * x\n"
        "class Unused:\n    def predict(self, x): ..."
    )
    root = bundle({"mine.py": source})
    component = node(type="predictor", component="mine.py:Unused")
    bind("n", component, root)
    # As a training script in the bundle's folder would write it: a reference to mine.Doubles.
    (root / "m.pkl").write_bytes(b"\x80\x04cmine\nDoubles\n)\x81.")
    bound = bind("n", node(type="predictor", runtime="sklearn", model="m.pkl"), root)
    assert bound.call(x=np.array([2])).tolist() == [4]


def test_types_unknown_to_skops_must_be_allowed(predictor):
    allowed = {"trusted": ["numpy.nan_to_num"]}
    with pytest.raises(
        LoadError, match=r"not trusted: numpy.nan_to_num; .*args: \{trusted: \[numpy.nan_to_num"
    ):
        predictor("odd.skops")
    assert predictor("odd.skops", args=allowed).call(x=X).shape == (150,)


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        ("forest.joblib", {"method": "predict_prob"},
         r"no method 'predict_prob' \(available: predict, predict_proba, .*apply\)"),
        ("dict.joblib", {}, "dict has no method 'predict'.*is it an estimator"),
        ("text.joblib", {}, "cannot load text.joblib: "),
        ("disguised.skops", {}, "cannot load disguised.skops: BadZipFile"),
        ("forest.joblib", {"inputs": {"a": "x", "b": "x"}}, "takes one input: concat them first"),
        ("forest.joblib", {"method": "__init__"}, "may not start with _"),
        ("forest.joblib", {"args": {"jobs": 1}}, "unknown argument of predictor 'sklearn'.*n_jobs"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(predictor, model, fields, message):
    with pytest.raises(LoadError, match=message):
        predictor(model, **fields)


def test_a_model_is_needed(node):
    found = registry.problems(node(type="predictor", runtime="sklearn"))
    assert found == [(("model",), "the runtime 'sklearn' needs a model")]
    assert registry.get("predictor", "sklearn").infer({"x": None}, {}) == {"output": None}


# The library sets the filters of warnings in each thread, which Python keeps once for all threads.
@pytest.mark.filterwarnings("ignore:.*sklearn.utils.parallel.delayed")
def test_threads_that_predict_at_once_get_what_one_gets(predictor):
    bound = predictor("forest.joblib", method="predict_proba")
    rows = [np.random.default_rng(seed).random((3, 4)) for seed in range(40)]
    assert bound.instance.max_concurrency >= 1
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda x: bound.call(x=x), rows))
    for x, together in zip(rows, found, strict=True):
        assert np.array_equal(together, bound.call(x=x))
