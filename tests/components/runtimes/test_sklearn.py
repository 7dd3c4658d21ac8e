from __future__ import annotations

import pickle
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest

from anabranch import Graph
from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.errors import InvalidRequest, LoadError
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.local_head import LocalHead
from tests.router.conftest import KEYS, uvloop_running

sklearn = pytest.importorskip("sklearn")
joblib = pytest.importorskip("joblib")
skops = pytest.importorskip("skops.io")
pandas = pytest.importorskip("pandas")

from sklearn.compose import make_column_transformer  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    FunctionTransformer,
    OneHotEncoder,
    StandardScaler,
)

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
        ("forest.joblib", {"inputs": {"a": "x", "b": "x"}}, "names no features, so it takes one"),
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


def make_rent(folder):
    """Train a pipeline on a frame of mixed columns; return the frame and the pipeline."""
    random = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "area (m2)": random.uniform(20, 120, 60),
            "rooms": random.integers(1, 6, 60),
            "district": np.array(["north", "süd", "west"], object)[random.integers(0, 3, 60)],
            "balcony": random.random(60) < 0.5,
        }
    )
    dear = {"north": 9.0, "süd": 14.0, "west": 11.0}
    rent = frame["area (m2)"] * frame["district"].map(dear) + 50 * frame["balcony"]
    encoded = make_column_transformer((OneHotEncoder(), ["district"]), remainder=StandardScaler())
    model = make_pipeline(encoded, LinearRegression()).fit(frame, rent)
    joblib.dump(model, folder / "rent.joblib")
    return frame, model


RENT = {"balcony": "x", "district": "x", "area__m2_": "x", "rooms": "x"}


def columns_of(frame):
    return {
        "area__m2_": frame["area (m2)"].to_numpy(),
        "rooms": frame["rooms"].to_numpy(),
        "district": frame["district"].to_numpy().astype(object),
        "balcony": frame["balcony"].to_numpy(),
    }


def test_columns_are_a_frame_in_the_model_s_order(node, tmp_path):
    frame, model = make_rent(tmp_path)
    spec = node(type="predictor", runtime="sklearn", model="rent.joblib", inputs=RENT)
    columns = columns_of(frame)
    bound = bind("n", spec, tmp_path)
    np.testing.assert_array_equal(bound.call(**columns), model.predict(frame))
    made_of_bytes = np.array([one.encode() for one in columns["district"]], object)
    several = {**columns, "district": made_of_bytes, "rooms": columns["rooms"][:, None]}
    np.testing.assert_array_equal(bound.call(**several), model.predict(frame))
    narrow = columns["area__m2_"].astype(to_dtype("BF16"))
    rounded = frame.assign(**{"area (m2)": narrow.astype(np.float32)})
    np.testing.assert_array_equal(
        bound.call(**columns | {"area__m2_": narrow}), model.predict(rounded)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rooms": np.ones((60, 2))}, r"input 'rooms' has shape \[60, 2\], expected \[-1\] or"),
        ({"rooms": np.ones(3)}, "different numbers of rows: area__m2_ 60, rooms 3, district 60"),
        ({"district": np.array([b"\xff"] * 60, object)}, "element 0 is not text in UTF-8"),
    ],
)
def test_what_is_no_column(node, tmp_path, change, message):
    frame, _ = make_rent(tmp_path)
    spec = node(type="predictor", runtime="sklearn", model="rent.joblib", inputs=RENT)
    with pytest.raises(ValueError, match=message):
        bind("n", spec, tmp_path).call(**columns_of(frame) | change)


def test_missing_and_unknown_columns_are_named_at_load(node, tmp_path):
    make_rent(tmp_path)
    inputs = {"area__m2_": "x", "room": "x", "district": "x"}
    spec = node(type="predictor", runtime="sklearn", model="rent.joblib", inputs=inputs)
    with pytest.raises(LoadError) as raised:
        bind("n", spec, tmp_path)
    assert str(raised.value).endswith(
        "rent.joblib was fitted on the features area__m2_, rooms, district, balcony; of these the "
        "node lacks rooms, balcony, and the node's inputs room are unknown"
    )


def test_inputs_that_are_unknown_are_named_alone_where_no_column_lacks(node, tmp_path):
    make_rent(tmp_path)
    spec = node(type="predictor", runtime="sklearn", model="rent.joblib", inputs=RENT | {"a": "x"})
    with pytest.raises(LoadError, match=r"district, balcony; the node's inputs a are unknown$"):
        bind("n", spec, tmp_path)


def test_a_single_column_by_its_name(node, tmp_path):
    frame = pandas.DataFrame({"home town": ["Rome", "Bonn", "Rome", "Oslo"]})
    encoder = make_column_transformer((OneHotEncoder(), ["home town"]))
    model = make_pipeline(encoder, LogisticRegression()).fit(frame, [1, 0, 1, 0])
    joblib.dump(model, tmp_path / "town.joblib")
    spec = node(type="predictor", runtime="sklearn", model="town.joblib", inputs={"home_town": "x"})
    bound = bind("n", spec, tmp_path)
    towns = np.array(["Rome", b"Oslo"], object)
    assert bound.call(home_town=towns).tolist() == [1, 0]
    assert bound.call(home_town=towns[:, None]).tolist() == [1, 0]
    with pytest.raises(InvalidRequest, match=r"Found unknown categories \['Paris'\]"):
        bound.call(home_town=np.array(["Paris"], object))


def test_columns_of_other_datatypes_are_told_at_load(tmp_path):
    make_rent(tmp_path)
    types = {"area__m2_": "FP64", "rooms": "INT64", "district": "FP64", "balcony": "BOOL"}
    with pytest.raises(LoadError, match=r"'district' is FP64\[-1\], but the model takes BYTES"):
        rent_of(tmp_path, types).run({name: np.zeros(1, to_dtype(t)) for name, t in types.items()})


def rent_of(root, types):
    graph = Graph("flats", root=root)
    for name, datatype in types.items():
        graph.input(name, datatype, ["rows"])
    inputs = {name: name for name in types}
    graph.predictor("rent", runtime="sklearn", model="rent.joblib", inputs=inputs)
    return graph.output("rent", "rent")


def by_attribute(frame):
    return frame.area.to_numpy()[:, None]


def by_key(frame):
    return np.asarray(frame["area"])[:, None]


@pytest.mark.parametrize(
    "first",
    [make_column_transformer((StandardScaler(), ["area"])), FunctionTransformer(by_attribute),
     FunctionTransformer(by_key)],
)  # fmt: skip
def test_a_model_that_picks_columns_by_name_takes_no_matrix(node, tmp_path, first):
    """It would fail for every request."""
    frame = pandas.DataFrame({"area": [20.0, 30.0, 40.0], "2nd floor": [1, 0, 1]})
    joblib.dump(
        make_pipeline(first, LinearRegression()).fit(frame, [1, 2, 3]), tmp_path / "m.joblib"
    )
    with pytest.raises(
        LoadError, match=r"m.joblib picks columns by name.*input for each column: area, _2nd_floor"
    ):
        bind("n", node(type="predictor", runtime="sklearn", model="m.joblib"), tmp_path)


def test_a_model_of_a_frame_that_is_a_matrix_for_it_takes_one(node, tmp_path):
    frame = pandas.DataFrame({"area": [20.0, 30.0, 40.0], "floor": [1, 0, 1]})
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(frame, [1, 2, 3])
    joblib.dump(model, tmp_path / "m.joblib")
    bound = bind("n", node(type="predictor", runtime="sklearn", model="m.joblib"), tmp_path)
    np.testing.assert_allclose(bound.call(x=frame.to_numpy()), model.predict(frame))


@pytest.mark.parametrize(("model", "width"), [("forest.joblib", 4), ("line.skops", 4)])
def test_no_rows_are_the_caller_s_mistake_where_a_model_needs_some(predictor, model, width):
    with pytest.raises(InvalidRequest, match="takes at least one row, got none"):
        predictor(model).call(x=np.zeros((0, width)))


def test_no_rows_of_columns_are_the_caller_s_mistake(node, tmp_path):
    frame, _ = make_rent(tmp_path)
    spec = node(type="predictor", runtime="sklearn", model="rent.joblib", inputs=RENT)
    with pytest.raises(InvalidRequest, match="takes at least one row, got none"):
        bind("n", spec, tmp_path).call(**columns_of(frame[:0]))


def test_no_rows_are_answered_by_a_model_that_takes_them(node, tmp_path):
    joblib.dump(FunctionTransformer(np.abs).fit(X), tmp_path / "m.joblib")
    spec = node(type="predictor", runtime="sklearn", model="m.joblib", method="transform")
    assert bind("n", spec, tmp_path).call(x=np.zeros((0, 4))).shape == (0, 4)


def test_mixed_columns_from_a_request_to_an_answer(tmp_path):
    frame, model = make_rent(tmp_path)
    graph = Graph("flats", root=tmp_path)
    types = {"area__m2_": "FP64", "rooms": "INT64", "district": "BYTES", "balcony": "BOOL"}
    for name, datatype in types.items():
        graph.input(name, datatype, ["rows"])
    graph.predictor(
        "rent",
        runtime="sklearn",
        model="rent.joblib",
        inputs={name: name for name in RENT},
        batching={"max_size": 64},
    )
    expected = model.predict(frame)
    with graph.output("rent", "rent"):
        np.testing.assert_allclose(graph.run(columns_of(frame))["rent"], expected)
        with served(graph) as url, ThreadPoolExecutor(8) as threads:
            parts = [frame[start : start + 1 + start % 3] for start in range(0, 60, 3)]
            found = list(threads.map(lambda part: infer(url, types, columns_of(part)), parts))
            unequal = columns_of(frame[:2]) | {"rooms": np.array([1])}
            refused = httpx.post(url, json=request_of(types, unequal))
    for part, answer in zip(parts, found, strict=True):
        np.testing.assert_allclose(answer, model.predict(part))
    assert refused.status_code == 400
    assert "the size 'rows' must be the same in a request" in refused.json()["error"]


@contextmanager
def served(graph):
    """A router of the graph on a socket; yields the address of its ``infer``."""

    async def start():
        executor = HeadExecutor(graph.plan, await load_nodes(graph.plan, ["rent"], graph.root))
        arms = Arms("flats", lambda revision: LocalHead(executor), RequestLimits())
        signatures = {1: graph.plan.signature}
        arms.apply(RoutingTable("flats", 1, 1, {1: 100.0}, revisions=signatures, keys=KEYS))
        server = LeanServer(GraphApp(arms))
        await server.listen(listener)
        return executor, server

    listener = socket.create_server(("127.0.0.1", 0))
    with uvloop_running() as run:
        executor, server = run(start())
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v2/models/flats/infer"
        finally:
            run(server.close(5))
            executor.close()


def request_of(types, columns):
    tensors = [
        {"name": n, "datatype": types[n], "shape": one.shape, "data": one.tolist()}
        for n, one in columns.items()
    ]
    return {"inputs": tensors}


def infer(url, types, columns):
    answer = httpx.post(url, json=request_of(types, columns))
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"]
