"""XGBoost, LightGBM and CatBoost, each with its real library: one file, so CI imports them once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest

from anabranch import Graph
from anabranch.components import extras, registry
from anabranch.components.binding import bind
from anabranch.components.tensors.model_types import ModelTensor
from anabranch.components.tensors.types import typed
from anabranch.errors import InvalidRequest, LoadError

xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")
catboost = pytest.importorskip("catboost")
pytest.importorskip("sklearn")

from sklearn.datasets import load_breast_cancer, load_iris  # noqa: E402

pytestmark = pytest.mark.slow  # the three libraries take two seconds to import

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
B, BY = load_breast_cancer(return_X_y=True)
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
PLAIN = {name.replace(" ", "_"): "x" for name in NAMES}
MIXED = np.array([["a", 1.0], ["b", 2.0], ["a", 0.5], ["c", 3.0]] * 10, dtype=object)
MODELS = {"xgboost": "iris.ubj", "lightgbm": "iris.txt", "catboost": "iris.cbm"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_xgboost(folder)
    save_lightgbm(folder)
    save_catboost(folder)
    return folder


def save_xgboost(folder):
    few = {"n_estimators": 8, "nthread": 1}
    iris = xgboost.XGBClassifier(**few).fit(X, Y)
    iris.save_model(folder / "iris.ubj")
    iris.get_booster().feature_names = NAMES
    iris.save_model(folder / "named.json")
    early = xgboost.XGBClassifier(**few | {"n_estimators": 40}, early_stopping_rounds=2)
    early.fit(X[::2], Y[::2], eval_set=[(X[1::2], Y[1::2])], verbose=False)
    assert early.best_iteration < 30
    early.save_model(folder / "early.json")
    xgboost.XGBClassifier(**few).fit(B, BY).save_model(folder / "binary.json")
    xgboost.XGBRegressor(**few).fit(X, Y).save_model(folder / "line.json")
    (folder / "cut.json").write_bytes((folder / "named.json").read_bytes()[:500])
    (folder / "old.model").write_bytes(b"binf")


def save_lightgbm(folder):
    few = {"n_estimators": 8, "verbose": -1, "num_threads": 1}
    text = lightgbm.LGBMClassifier(**few).fit(X, Y).booster_.model_to_string()
    (folder / "iris.txt").write_text(text)
    text_with_names = text.replace(
        "Column_0 Column_1 Column_2 Column_3", " ".join(name.replace(" ", "_") for name in NAMES)
    )
    (folder / "named.txt").write_text(text_with_names)
    lightgbm.LGBMClassifier(**few).fit(B, BY).booster_.save_model(folder / "binary.txt")
    lightgbm.LGBMRegressor(**few).fit(X, Y).booster_.save_model(folder / "line.txt")
    (folder / "cut.txt").write_text(text[: len(text) // 3])
    (folder / "no-end.txt").write_text(text[: text.index("end of trees")])


def save_catboost(folder):
    few = {"iterations": 8, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    iris = catboost.CatBoostClassifier(**few).fit(X, Y)
    iris.save_model(folder / "iris.cbm")
    iris.save_model(folder / "iris.json", format="json")
    counts = catboost.CatBoostRegressor(**few, loss_function="Poisson").fit(X, Y)
    counts.save_model(folder / "counts.cbm")
    catboost.CatBoostRegressor(**few).fit(X, Y).save_model(folder / "line.cbm")
    pool = catboost.Pool(MIXED, ["p", "q"] * 20, cat_features=[0], feature_names=["kind", "size"])
    catboost.CatBoostClassifier(**few).fit(pool).save_model(folder / "mixed.cbm")
    (folder / "cut.cbm").write_bytes((folder / "iris.cbm").read_bytes()[:500])


@pytest.fixture
def predictor(node, root):
    def make(runtime, model=None, **fields):
        model = model or MODELS[runtime]
        return bind("n", node(type="predictor", runtime=runtime, model=model, **fields), root)

    return make


@pytest.mark.parametrize("method", ["predict", "predict_proba", "margin", "contribs", "leaf"])
@pytest.mark.parametrize("model", ["iris.ubj", "binary.json"])
def test_xgboost_answers_as_it_does_itself(predictor, root, model, method):
    rows = B if model == "binary.json" else X
    booster = xgboost.Booster(model_file=root / model)
    options = {
        "margin": {"output_margin": True},
        "contribs": {"pred_contribs": True},
        "leaf": {"pred_leaf": True},
    }
    wrapper = xgboost.XGBClassifier()
    wrapper.load_model(root / model)
    expected = booster.predict(xgboost.DMatrix(rows), **options.get(method, {}))
    if method == "predict_proba":
        expected = wrapper.predict_proba(rows)
    found = predictor("xgboost", model, method=method).call(x=rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_xgboost_stops_at_the_best_iteration(predictor, root):
    wrapper = xgboost.XGBClassifier()
    wrapper.load_model(root / "early.json")
    for method in ("predict", "margin", "contribs"):
        found = predictor("xgboost", "early.json", method=method).call(x=X)
        every = xgboost.Booster(model_file=root / "early.json").predict(
            xgboost.DMatrix(X),
            output_margin=method == "margin",
            pred_contribs=method == "contribs",
            iteration_range=(0, wrapper.best_iteration + 1),
        )
        np.testing.assert_allclose(found, every, rtol=1e-6)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "raw", "contribs", "leaf"])
@pytest.mark.parametrize("model", ["iris.txt", "binary.txt"])
def test_lightgbm_answers_as_it_does_itself(predictor, root, model, method):
    rows = B if model == "binary.txt" else X
    booster = lightgbm.Booster(model_file=str(root / model))
    options = {
        "raw": {"raw_score": True},
        "contribs": {"pred_contrib": True},
        "leaf": {"pred_leaf": True},
    }
    expected = booster.predict(rows, **options.get(method, {}))
    if method == "predict_proba" and expected.ndim == 1:
        expected = np.column_stack([1 - expected, expected])
    found = predictor("lightgbm", model, method=method).call(x=rows)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("method", "kind"),
    [("predict", "Class"), ("predict_proba", "Probability"), ("raw", "RawFormulaVal")],
)
@pytest.mark.parametrize("model", ["iris.cbm", "iris.json"])
def test_catboost_answers_as_it_does_itself(predictor, root, model, method, kind):
    itself = catboost.CatBoost().load_model(root / "iris.cbm")
    expected = itself.predict(X, prediction_type=kind)
    found = predictor("catboost", model, method=method).call(x=X)
    np.testing.assert_allclose(found, expected[:, 0] if kind == "Class" else expected)
    assert found.shape == ((150,) if kind == "Class" else (150, 3))


def test_catboost_counts_are_no_logarithms(predictor, root):
    itself = catboost.CatBoostRegressor().load_model(root / "counts.cbm")
    found = predictor("catboost", "counts.cbm").call(x=X)
    np.testing.assert_allclose(found, itself.predict(X))
    assert not np.allclose(found, predictor("catboost", "counts.cbm", method="raw").call(x=X))


def test_catboost_takes_categories_as_texts(predictor):
    columns = {"kind": MIXED[:4, 0], "size": MIXED[:4, 1].astype(np.float64)}
    by_name = predictor("catboost", "mixed.cbm", inputs={"size": "x", "kind": "x"})
    assert by_name.call(**columns).tolist() == ["p", "q", "p", "q"]
    matrix = np.array([[b"a", b"1.0"], [b"b", b"2.0"]], dtype=object)
    found = predictor("catboost", "mixed.cbm", method="predict_proba").call(x=matrix)
    probabilities = predictor(
        "catboost", "mixed.cbm", method="predict_proba", inputs={"size": "x", "kind": "x"}
    ).call(**columns)
    np.testing.assert_array_equal(found, probabilities[:2])
    assert predictor("catboost", "mixed.cbm").call(x=matrix[:0]).shape == (0,)
    with pytest.raises(ValueError, match="could not convert string to float: 'many'"):
        predictor("catboost", "mixed.cbm").call(x=np.array([["a", b"many"]], dtype=object))


@pytest.mark.parametrize(
    ("runtime", "model"), [("xgboost", "named.json"), ("lightgbm", "named.txt")]
)
def test_features_by_name_in_any_order(predictor, runtime, model):
    columns = {name: X[:, index] for index, name in enumerate(PLAIN)}
    inputs = dict(reversed(PLAIN.items()))
    found = predictor(runtime, model, inputs=inputs, method="predict_proba")
    expected = predictor(runtime, model, method="predict_proba").call(x=X)
    np.testing.assert_array_equal(found.call(**columns), expected)
    tall = {name: column[:, None] for name, column in columns.items()}
    np.testing.assert_array_equal(found.call(**tall), expected)
    with pytest.raises(ValueError, match=r"'sepal_width' has shape \[2, 4\], expected \[-1\] or"):
        found.call(**columns | {"sepal_width": X[:2]})


@pytest.mark.parametrize("runtime", MODELS)
def test_the_number_of_features_is_checked(predictor, runtime):
    bound = predictor(runtime)
    for shape in ([2, 3], [2, 5], [4], [1, 2, 4]):
        with pytest.raises(ValueError, match=r"expected \[-1, 4\]: the model was fitted on 4 "):
            bound.call(x=np.zeros(shape))
    with pytest.raises(ValueError, match="BYTES, but the model takes numbers"):
        bound.call(x=np.array([["a"] * 4], dtype=object))


DTYPES = ["?", "u1", "i2", "i8", "u8", "f2", "f4", "f8", ml_dtypes.bfloat16]


@pytest.mark.parametrize("runtime", MODELS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_of_every_datatype_are_taken(predictor, runtime, dtype):
    bound = predictor(runtime, method="predict_proba")
    rows = X[::20].round().astype(dtype)
    rows.flags.writeable = False
    found = bound.call(x=rows)
    np.testing.assert_allclose(found, bound.call(x=rows.astype(np.float32)), rtol=1e-6)


@pytest.mark.parametrize("runtime", MODELS)
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_no_rows_give_no_rows_of_the_same_rank(predictor, runtime, method):
    bound = predictor(runtime, method=method)
    some, none = bound.call(x=X), bound.call(x=X[:0])
    assert none.shape == (0, *some.shape[1:])
    assert none.dtype == some.dtype


@pytest.mark.parametrize("runtime", MODELS)
def test_threads_that_predict_at_once_get_what_one_gets(predictor, runtime):
    bound = predictor(runtime, method="predict_proba", args={"threads": 2})
    rows = [np.random.default_rng(seed).random((3, 4), np.float32) for seed in range(40)]
    assert bound.instance.max_concurrency >= 1
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda x: bound.call(x=x), rows))
    for x, together in zip(rows, found, strict=True):
        np.testing.assert_array_equal(together, bound.call(x=x))


@pytest.mark.parametrize(
    ("runtime", "model", "fields", "message"),
    [
        ("xgboost", "old.model", {}, "old.model is neither .json nor .ubj: write it with save"),
        ("xgboost", "cut.json", {}, "cannot load cut.json: .*Expecting"),
        ("xgboost", "line.json", {"method": "predict_proba"}, "not reg:squarederror"),
        ("xgboost", "iris.ubj", {"inputs": PLAIN}, "names no features, so it takes one input"),
        ("xgboost", "named.json", {"inputs": {"a": "x", "b": "x"}},
         "named.json was fitted on the features sepal_length, .*; of these the node lacks "
         "sepal_length, .*, and the node's inputs a, b are unknown"),
        ("xgboost", "iris.ubj", {"method": "probabilities"},
         "'xgboost' has no method 'probabilities' .*predict_proba"),
        ("xgboost", "iris.ubj", {"args": {"threads": 0}}, "threads: must be at least 1, not 0"),
        ("lightgbm", "cut.txt", {}, "cut.txt is not whole: its trees are not as long"),
        ("lightgbm", "no-end.txt", {}, "no-end.txt is not whole"),
        ("lightgbm", "named.json", {}, "named.json is no text model of LightGBM"),
        ("lightgbm", "iris.cbm", {}, "cannot load iris.cbm: UnicodeDecodeError"),
        ("lightgbm", "line.txt", {"method": "predict_proba"}, "not the objective regression"),
        ("lightgbm", "iris.txt", {"method": "margin"}, "has no method 'margin' .*raw"),
        ("catboost", "cut.cbm", {}, "cannot load cut.cbm: CatBoostError"),
        ("catboost", "iris.txt", {}, "iris.txt is neither .cbm nor .json"),
        ("catboost", "line.cbm", {"method": "predict_proba"}, "classifier, not the loss RMSE"),
        ("catboost", "iris.cbm", {"args": {"threads": 0}}, "threads: must be at least 1, not 0"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(predictor, root, runtime, model, fields, message):
    with pytest.raises(LoadError, match=message) as raised:
        predictor(runtime, model, **fields)
    assert "Stack trace" not in str(raised.value)
    assert "site-packages" not in str(raised.value)
    assert str(root) not in str(raised.value)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", json.dumps({"learner": {}})])
def test_what_is_no_model_of_xgboost(predictor, root, content):
    (root / "odd.json").write_text(content)
    with pytest.raises(LoadError, match=r"odd\.json") as raised:
        predictor("xgboost", "odd.json")
    assert "libxgboost" not in str(raised.value)


@pytest.mark.parametrize("runtime", MODELS)
def test_a_model_is_needed_and_none_can_run_code(node, runtime):
    found = registry.problems(node(type="predictor", runtime=runtime))
    assert found == [(("model",), f"the runtime {runtime!r} needs a model")]
    assert not registry.get("predictor", runtime).executes_code(f"s3://b/{MODELS[runtime]}")


@pytest.mark.parametrize("runtime", MODELS)
def test_a_missing_library_is_named_with_its_extra(predictor, monkeypatch, runtime):
    def refuse(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(extras.importlib, "import_module", refuse)
    with pytest.raises(LoadError, match=rf"pip install 'anabranch\[{runtime}\]'"):
        predictor(runtime)


@pytest.mark.parametrize(
    ("runtime", "method", "shape"),
    [
        ("xgboost", "predict", (-1, 3)),
        ("xgboost", "contribs", (-1, 3, 5)),
        ("lightgbm", "predict_proba", (-1, 3)),
        ("catboost", "predict", (-1,)),
    ],
)
def test_what_the_model_knows_of_its_tensors(predictor, runtime, method, shape):
    bound = predictor(runtime, method=method)
    assert bound.instance.input_types == {"x": ModelTensor(None, (-1, 4))}
    (known,) = bound.instance.output_types.values()
    assert known.shape == shape
    assert known.agrees(typed(bound.call(x=X).dtype, shape))


def make_mixed(folder):
    """Train models on a frame with categories of texts and of numbers; return it and answers."""
    pandas = pytest.importorskip("pandas")
    random = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "size (m)": random.random(300),
            "kind": pandas.Categorical(
                np.array(["a", "b", "ü"], object)[random.integers(0, 3, 300)]
            ),
            "year": pandas.Categorical(random.integers(3, 6, 300)),
        }
    )
    y = frame["size (m)"] + (frame["kind"] == "b") * 2 + (frame["year"] == 4)
    trees = lightgbm.train({"verbose": -1}, lightgbm.Dataset(frame, y), 10)
    trees.save_model(folder / "mixed.txt")
    matrix = xgboost.DMatrix(frame, y, enable_categorical=True)
    booster = xgboost.train({}, matrix, 10)
    booster.save_model(folder / "mixed.ubj")
    return frame, {"lightgbm": trees.predict(frame), "xgboost": booster.predict(matrix)}


@pytest.mark.parametrize(
    ("runtime", "model"), [("lightgbm", "mixed.txt"), ("xgboost", "mixed.ubj")]
)
def test_categories_are_columns_by_value(node, tmp_path, runtime, model):
    if not hasattr(xgboost.Booster, "get_categories"):
        pytest.skip("XGBoost keeps no values of categories before 3.1")
    frame, answers = make_mixed(tmp_path)
    inputs = dict.fromkeys(("year", "size__m_", "kind"), "x")
    bound = bind("n", node(type="predictor", runtime=runtime, model=model, inputs=inputs), tmp_path)
    columns = {
        "size__m_": frame["size (m)"].to_numpy(),
        "kind": frame["kind"].to_numpy().astype(object),
        "year": frame["year"].to_numpy().astype(np.int64),
    }
    np.testing.assert_allclose(bound.call(**columns), answers[runtime], rtol=1e-6)
    one = {name: column[7:8] for name, column in columns.items()}
    np.testing.assert_allclose(bound.call(**one), answers[runtime][7:8], rtol=1e-6)
    of_bytes = one | {"kind": np.array([one["kind"][0].encode()], object)}
    np.testing.assert_array_equal(bound.call(**of_bytes), bound.call(**one))
    none = {name: column[:0] for name, column in columns.items()}
    assert bound.call(**none).shape == (0,)
    shap = bound.instance.tree_shap(**columns)
    total = shap.base + shap.attributions.sum(axis=2)
    np.testing.assert_allclose(total[:, 0], answers[runtime], rtol=1e-4)
    unknown = one | {"kind": np.array(["zzz"], object)}
    if runtime == "lightgbm":
        assert np.isfinite(bound.call(**unknown)).all()
    else:
        words = "^input 'kind' has 'zzz', a category that the model was not trained on$"
        with pytest.raises(InvalidRequest, match=words):
            bound.call(**unknown)
        with pytest.raises(InvalidRequest, match=words):
            bound.instance.tree_shap(**unknown)
        with pytest.raises(InvalidRequest, match=r"^input 'year' has '9', a category that the"):
            bound.call(**one | {"year": np.array([9])})
    narrow = columns | {"year": columns["year"].astype(np.int32)}
    np.testing.assert_array_equal(bound.call(**narrow), bound.call(**columns))
    floats = columns | {"year": columns["year"].astype(np.float32)}
    np.testing.assert_array_equal(bound.call(**floats), bound.call(**columns))
    if runtime == "xgboost":
        with pytest.raises(InvalidRequest, match=r"input 'year' has 3.5, its categories are int64"):
            bound.call(**one | {"year": np.array([3.5])})
    types = {name: str(one) for name, one in bound.instance.input_types.items()}
    assert types == {"size__m_": "numbers", "kind": "BYTES", "year": "numbers"}


@pytest.mark.parametrize("runtime", ["lightgbm", "xgboost"])
def test_texts_for_numbers_are_told_at_load(tmp_path, runtime):
    make_mixed(tmp_path)
    model = {"lightgbm": "mixed.txt", "xgboost": "mixed.ubj"}[runtime]
    graph = Graph("mixed", root=tmp_path)
    for name in ("size__m_", "kind", "year"):
        graph.input(name, "BYTES", ["rows"])
    names = {name: name for name in ("size__m_", "kind", "year")}
    graph.predictor("trees", runtime=runtime, model=model, inputs=names)
    with pytest.raises(LoadError, match=r"input 'size__m_' is BYTES\[-1\], but the model takes nu"):
        graph.output("y", "trees").run({name: ["a"] for name in names})


def make_ordered(folder, **more):
    """Train LightGBM on texts with an order and without one; return the frame and answers."""
    pandas = pytest.importorskip("pandas")
    codes = np.arange(300) % 3
    texts = np.array(["low", "mid", "high"], object)[codes]
    kind = pandas.Categorical(texts, categories=["low", "mid", "high"], ordered=True)
    frame = pandas.DataFrame({"size": np.linspace(0, 1, 300), "kind": kind, "same": kind, **more})
    frame["same"] = frame["same"].cat.as_unordered()
    options = {"categorical_feature": ["kind", "same", "level"]} if "level" in more else {}
    data = lightgbm.Dataset(frame, codes + frame["size"], **options)
    trees = lightgbm.train({"verbose": -1}, data, 3)
    trees.save_model(folder / "m.txt")
    return frame, trees.predict(frame)


@pytest.mark.parametrize("more", [{}, {"level": np.arange(300) % 5}])
def test_lightgbm_knows_categories_of_texts_by_their_inputs(node, tmp_path, more):
    """Also those with an order, and beside numbers that ``categorical_feature`` named."""
    frame, answers = make_ordered(tmp_path, **more)
    inputs = dict.fromkeys(frame.columns, "x")
    spec = node(type="predictor", runtime="lightgbm", model="m.txt", inputs=inputs)
    bound = bind("n", spec, tmp_path)
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    columns |= {name: columns[name].astype(object) for name in ("kind", "same")}
    np.testing.assert_allclose(bound.call(**columns), answers)
    with pytest.raises(ValueError, match="1 inputs are BYTES, but the model has 2 categories of"):
        bound.call(**columns | {"same": np.zeros(300)})


def make_years(folder):
    """Train LightGBM on categories of texts and of numbers, all with an order but one."""
    pandas = pytest.importorskip("pandas")
    year = pandas.Categorical(2000 + np.arange(300) % 3, ordered=True)
    return make_ordered(folder, year=year)


def test_lightgbm_does_not_say_whose_the_values_of_numbers_are(node, tmp_path):
    frame, answers = make_years(tmp_path)
    by_name = {"runtime": "lightgbm", "model": "m.txt", "inputs": dict.fromkeys(frame.columns, "x")}
    with pytest.raises(LoadError, match="the values of 3 categories, some of them numbers, and 1 "):
        bind("n", node(type="predictor", **by_name), tmp_path)
    named = by_name | {"args": {"categories": ["year", "same", "kind"]}}
    bound = bind("n", node(type="predictor", **named), tmp_path)
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    columns |= {name: columns[name].astype(object) for name in ("kind", "same")}
    np.testing.assert_allclose(bound.call(**columns), answers)
    floats = columns | {"year": columns["year"].astype(np.float32)}
    np.testing.assert_allclose(bound.call(**floats), answers)
    types = {name: str(one) for name, one in bound.instance.input_types.items()}
    assert types == {"size": "numbers", "kind": "BYTES", "same": "BYTES", "year": "numbers"}


@pytest.mark.parametrize(
    ("categories", "fields", "message"),
    [
        (["kind", "years"], {}, "args.categories: the model has no feature 'years'.*'year'"),
        (["kind", "year"], {}, "values of 3 categories, some of them numbers, and 2 are in args"),
        (["kind"], {"inputs": {"x": "x"}}, "args.categories is for inputs by name"),
    ],
)
def test_categories_that_are_named_wrongly(node, tmp_path, categories, fields, message):
    frame, _ = make_years(tmp_path)
    inputs = {"inputs": dict.fromkeys(frame.columns, "x")} | fields
    args = {"categories": categories}
    spec = node(type="predictor", runtime="lightgbm", model="m.txt", args=args, **inputs)
    with pytest.raises(LoadError, match=message):
        bind("n", spec, tmp_path)


def test_lightgbm_takes_codes_as_a_matrix(node, tmp_path):
    make_years(tmp_path)
    matrix = node(type="predictor", runtime="lightgbm", model="m.txt", inputs={"x": "x"})
    assert bind("n", matrix, tmp_path).call(x=np.zeros((2, 4))).shape == (2,)
