"""Anchors of matrices, texts and images, against the library called directly."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components import registry
from anabranch.errors import InvalidRequest
from tests.explainers.local import REFUSED, Local, ask, explainer, node, tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    library = pytest.importorskip("alibi.explainers")
    spacy = pytest.importorskip("spacy")
datasets = pytest.importorskip("sklearn.datasets")
linear_model = pytest.importorskip("sklearn.linear_model")
joblib = pytest.importorskip("joblib")
pytestmark = pytest.mark.filterwarnings("ignore")

CLAIMED = 0.05
"""How far a claimed precision may be above the true one."""


@pytest.fixture(scope="module")
def model(cancer):
    spec = node(type="predictor", runtime="sklearn", model="forest.joblib", method="predict_proba")
    return Local(spec, cancer.root, {"x": tensor("FP32", 8)})


@pytest.fixture(scope="module")
def why(cancer, model):
    return explainer(model, cancer.root, "anchor_tabular", data="sample.npz")


def direct(cancer, row, seed, calls=None):
    def predictor(x):
        if calls is not None:
            calls.append(len(x))
        return cancer.forest.predict_proba(x)

    found = library.AnchorTabular(predictor, cancer.names, seed=seed)
    found.fit(cancer.x[:100].astype(np.float64))
    np.random.seed(seed)
    return found.explain(row.astype(np.float64)).data


@pytest.mark.parametrize("seed", [0, pytest.param(11, marks=pytest.mark.nightly)])
def test_tables_say_what_the_library_says(cancer, why, seed):
    rows = cancer.x[[0, 150, 300]]
    found = ask(why, {"x": rows}, seed=seed)
    for one, row in zip(found, rows, strict=True):
        expected = direct(cancer, row, seed)
        assert one["rule"] == expected["anchor"]
        assert one["library"]["precision"] == pytest.approx(expected["precision"], abs=1e-6)
        assert one["coverage"] == pytest.approx(expected["coverage"], abs=1e-6)
        assert one["target"] == cancer.forest.predict(row[None])[0]
        assert one["library"]["raw"]["feature"] == expected["raw"]["feature"]
        assert "examples" not in one["library"]["raw"]
        assert (one["method"], one["seed"]) == ("anchor_tabular", seed)


def test_a_row_is_explained_alike_whatever_stands_beside_it(cancer, why):
    alone = ask(why, {"x": cancer.x[5:6]}, seed=1)
    assert ask(why, {"x": cancer.x[3:7]}, seed=1)[2:3] == alone


def test_the_model_is_asked_less_often_than_by_the_library(cancer, model, why):
    calls: list[int] = []
    direct(cancer, cancer.x[3], 0, calls)
    model.calls.clear()
    ask(why, {"x": cancer.x[3:4]})
    # The library tries a row when it is made, and measures no precision.
    assert sum(model.calls) - 2000 == sum(calls) - 1
    assert len(model.calls) < len(calls) / 1.5


SCRIPT = """
import sys, json, warnings, joblib, numpy as np
sys.path.insert(0, {tests!r})
from pathlib import Path
from tests.explainers.local import Local, ask, explainer, node, tensor
root = Path({root!r})
spec = node(type="predictor", runtime="sklearn", model="forest.joblib", method="predict_proba")
model = Local(spec, root, {{"x": tensor("FP32", 8)}})
x = np.load(root / "few.npy")[:2]
found = [
    ask(explainer(model, root, method, data="sample.npz"), {{"x": x}}, seed=9)
    for method in ("anchor_tabular", "kernel_shap")
]
print(json.dumps(found))
"""


@pytest.mark.nightly
def test_another_process_finds_the_same(cancer, model, why):
    import json

    script = SCRIPT.format(tests=str(Path(__file__).parents[3]), root=str(cancer.root))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    shap = explainer(model, cancer.root, "kernel_shap", data="sample.npz")
    here = [ask(one, {"x": cancer.x[:2]}, seed=9) for one in (why, shap)]
    assert json.loads(done.stdout) == here


def test_anchors_explain_the_predicted_class(cancer, why):
    assert ask(why, {"x": cancer.x[:1]}, target=0)[0]["target"] == 0
    with pytest.raises(InvalidRequest, match="'target' is 1, but anchors explain the predicted cl"):
        ask(why, {"x": cancer.x[:1]}, target=1)


def on_fresh_rows(bound, seed, count=5000):
    """Share of fresh rows of the last rule, drawn by the library, that get the same class."""
    sampler = bound.instance.explainer.samplers[0]
    search = bound.instance.explainer.mab
    np.random.seed(seed)
    agreeing = [sampler((0, search.chosen), 100)[2].mean() for _ in range(count // 100)]
    return np.mean(agreeing)


@pytest.mark.nightly
@settings(max_examples=12, deadline=None)
@given(row=st.integers(0, 568), seed=st.integers(0, 2**31), resample=st.booleans())
def test_precision_on_fresh_rows_is_what_was_claimed(cancer, model, row, seed, resample):
    bound = explainer(
        model, cancer.root, "anchor_tabular", data="sample.npz", args={"resample": resample}
    )
    (found,) = ask(bound, {"x": cancer.x[row : row + 1]}, seed=seed)
    assert on_fresh_rows(bound, seed + 1) >= found["precision"] - CLAIMED


@pytest.mark.nightly
def test_rules_that_were_judged_by_their_own_rows_hold_better(cancer, model):
    rows = {"x": cancer.x[:200:20]}
    args = {"resample": True}
    own = ask(explainer(model, cancer.root, "anchor_tabular", data="sample.npz", args=args), rows)
    others = ask(explainer(model, cancer.root, "anchor_tabular", data="sample.npz"), rows)
    held, fell = (np.mean([one["precision"] for one in found]) for found in (own, others))
    assert held > 0.9
    assert fell < held - 0.1


def test_the_precision_that_the_search_claims_may_be_asked_for(cancer, model):
    args = {"precision_samples": 0}
    bound = explainer(model, cancer.root, "anchor_tabular", data="sample.npz", args=args)
    (found,) = ask(bound, {"x": cancer.x[:1]})
    expected = direct(cancer, cancer.x[0], 0)
    assert found["precision"] == pytest.approx(expected["precision"], abs=1e-6)


def test_a_model_of_labels(cancer):
    spec = node(type="predictor", runtime="sklearn", model="forest.joblib")
    model = Local(spec, cancer.root, {"x": tensor("FP32", 8)})
    labels = explainer(model, cancer.root, "anchor_tabular", data="sample.npz")
    (found,) = ask(labels, {"x": cancer.x[:1]})
    assert found["rule"] == direct(cancer, cancer.x[0], 0)["anchor"]


PARTS = """
import numpy as np

class Number:
    def predict(self, x):
        return x[:, 0].astype(np.float32)

class Words:
    def predict(self, x):
        return np.where(x[:, 0] > 0, "yes", "no").astype(object)

class Two:
    def predict(self, x, sign):
        return (x[:, 0] * sign > 0).astype(np.int64)
"""


@pytest.fixture
def parts(tmp_path):
    (tmp_path / "parts.py").write_text(PARTS)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(200, 2)))
    return tmp_path


def test_a_model_of_one_number_has_no_classes(parts):
    model = Local(node(type="predictor", component="parts.py:Number"), parts, {"x": None})
    with pytest.raises(ValueError, match="explains classes: give their probabilities"):
        explainer(model, parts, "anchor_tabular", data="x.npy")


def test_a_model_of_words(parts):
    model = Local(node(type="predictor", component="parts.py:Words"), parts, {"x": None})
    words = explainer(
        model, parts, "anchor_tabular", data="x.npy", args={"feature_names": ["a", "b"]}
    )
    (found,) = ask(words, {"x": np.array([[2.0, 0.0]])})
    assert found["target"] == "yes"
    assert found["rule"] == ["a > 0.69"] or found["rule"][0].startswith("a > ")


def test_other_inputs_stay_as_they_are(parts):
    spec = node(type="predictor", component="parts.py:Two", inputs={"x": "x", "sign": "sign"})
    model = Local(spec, parts, {"x": tensor("FP64", 2), "sign": tensor("FP64")})
    args = {"input": "x", "feature_names": ["a", "b"]}
    held = explainer(model, parts, "anchor_tabular", data="x.npy", args=args)
    x = np.array([[2.0, 0.0], [2.0, 0.0]])
    found = ask(held, {"x": x, "sign": np.array([1.0, -1.0])})
    assert [one["target"] for one in found] == [1, 0]
    assert all(one["rule"][0].startswith("a > ") for one in found)


def test_categories_are_named(parts):
    (parts / "kinds.csv").write_text("kind,size\n" + "0,1\n1,1\n0,2\n1,2\n" * 25)
    model = Local(node(type="predictor", component="parts.py:Words"), parts, {"x": None})
    args = {"categorical_names": {"kind": ["cat", "dog"]}}
    named = explainer(model, parts, "anchor_tabular", data="kinds.csv", args=args)
    (found,) = ask(named, {"x": np.array([[1.0, 2.0]])})
    assert found["rule"] == ["kind = dog"]
    assert found["target"] == "yes"


def test_rules_over_texts_and_numbers_by_name(flats):
    why = explainer(flats.model(classes=True), flats.root, "anchor_tabular", data="sample.csv")
    west, north = ask(why, flats.x)
    assert (west["target"], west["rule"]) == (1, ["district = west"])
    assert west["precision"] == 1
    assert west["library"]["raw"]["feature"] == [0]
    assert (north["target"], north["rule"][0]) == (0, "district = north")


def test_a_column_without_variety_hides_no_texts(flats):
    text = (flats.root / "sample.csv").read_text()
    lines = [line.rsplit(",", 1)[0] + ",1" for line in text.splitlines()[1:]]
    (flats.root / "same.csv").write_text("\n".join(["area,id,district,rooms", *lines]))
    model = flats.model(classes=True)
    # The order of the inputs is that of the features: the texts come after the numbers.
    model.inputs = {name: model.inputs[name] for name in ("rooms", "area", "district")}
    why = explainer(model, flats.root, "anchor_tabular", data="same.csv")
    (west,) = ask(why, {name: array[:1] for name, array in flats.x.items()})
    assert west["rule"] == ["district = west"]
    assert west["library"]["raw"]["feature"] == [2]


def test_a_text_that_no_row_of_the_sample_has(flats):
    lines = (flats.root / "sample.csv").read_text().splitlines()
    (flats.root / "few.csv").write_text("\n".join(one for one in lines if ",west," not in one))
    args = {"categorical_names": {"district": ["north", "south", "west"]}}
    why = explainer(
        flats.model(classes=True), flats.root, "anchor_tabular", data="few.csv", args=args
    )
    (west,) = ask(why, {name: array[:1] for name, array in flats.x.items()})
    assert west["rule"] == ["district = west"]


@pytest.mark.parametrize(
    ("method", "fields", "message"),
    [
        ("anchor_tabular", {}, "data: anchor_tabular needs data, a sample"),
        ("anchor_tabular", {"data": "x.npy", "args": {"threshold": 0.0}}, "threshold: must be"),
        ("anchor_tabular", {"data": "x.npy", "args": {"batch_size": 0}}, "batch_size: must be"),
        ("anchor_tabular", {"data": "x.npy", "args": {"max_anchor_size": 0}}, "must be at least 1"),
        ("anchor_tabular", {"data": "x.npy", "args": {"disc_perc": [0.0]}}, "percentiles are"),
        ("anchor_tabular", {"data": "x.npy", "args": {"categorical_names": {"z": ["a"]}}},
         "no feature 'z'"),
        ("anchor_image", {"args": {"image_shape": [4]}}, r"must be \[height, width\]"),
        ("anchor_image", {"args": {"p_sample": 1.0}}, "p_sample: must be less than 1, not 1.0"),
        ("anchor_image", {}, "the shape of an image is unknown"),
        ("anchor_image", {"data": "x.npy", "args": {"image_shape": [2, 3]}}, r"no images \[2, 3\]"),
        ("anchor_text", {"data": "x.npy"}, "anchor_text is fitted on nothing"),
        ("anchor_text", {"args": {"top_n": 3}}, "belongs to sampling_strategy: similarity"),
        ("anchor_text", {"args": {"sampling_strategy": "similarity"}}, "needs spacy_model"),
        ("anchor_text", {"args": {"sample_proba": 0.0}}, "sample_proba: must be more than 0"),
        ("anchor_text", {"args": {"language": "tlh"}}, "spaCy has no rules for the language 'tlh'"),
        ("anchor_text", {"args": {"spacy_model": "gone"}}, "there is no file 'gone'"),
    ],
)  # fmt: skip
def test_mistakes_are_named(parts, method, fields, message):
    model = Local(node(type="predictor", component="parts.py:Words"), parts, {"x": None})
    with pytest.raises(REFUSED, match=message):
        explainer(model, parts, method, **fields)


# Texts


GOOD, BAD = ("good", "great", "lovely"), ("bad", "awful", "boring")
TEXTS = [f"a {word} film by someone I know" for word in GOOD + BAD] * 3
TEXT_PART = """
import joblib
import numpy as np
from pathlib import Path

class Part:
    def __init__(self, labels=False):
        self.model = joblib.load(Path(__file__).with_name("text.joblib"))
        self.labels = labels

    def predict(self, text):
        texts = [t.decode() if isinstance(t, bytes) else str(t) for t in text.ravel()]
        if self.labels:
            found = self.model.predict(texts)
            return np.where(found == 1, b"good", b"bad").astype(object)
        return self.model.predict_proba(texts)
"""


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    text = pytest.importorskip("sklearn.feature_extraction.text")
    pipeline = pytest.importorskip("sklearn.pipeline")
    root = tmp_path_factory.mktemp("texts")
    labels = [int(any(word in one for word in GOOD)) for one in TEXTS]
    classifier = pipeline.make_pipeline(text.CountVectorizer(), linear_model.LogisticRegression())
    joblib.dump(classifier.fit(TEXTS, labels), root / "text.joblib")
    (root / "part.py").write_text(TEXT_PART)
    return root, classifier


@pytest.fixture(scope="module")
def text_library(texts):
    _, classifier = texts
    return library.AnchorText(
        classifier.predict_proba, sampling_strategy="unknown", nlp=spacy.blank("en")
    )


@pytest.mark.nightly
@pytest.mark.parametrize("rank", [1, 2])
def test_texts_say_what_the_library_says(texts, text_library, rank):
    root, _ = texts
    spec = node(type="predictor", component="part.py:Part", inputs={"text": "text"})
    model = Local(spec, root, {"text": tensor("BYTES", *[1] * (rank - 1))})
    why = explainer(model, root, "anchor_text", args={"threshold": 0.9})
    rows = np.array([b"a good film", "what an awful thing, really"], dtype=object)
    found = ask(why, {"text": rows.reshape(2, *[1] * (rank - 1))}, seed=3)
    for one, text in zip(found, ("a good film", "what an awful thing, really"), strict=True):
        np.random.seed(3)
        expected = text_library.explain(text, threshold=0.9).data
        assert one["rule"] == expected["anchor"]
        assert one["library"]["precision"] == pytest.approx(expected["precision"], abs=1e-6)
        assert one["coverage"] == pytest.approx(expected["coverage"], abs=1e-6)
    assert [one["rule"] for one in found] == [["good"], []]
    assert [one["target"] for one in found] == [1, 0]


def test_texts_that_hold_the_words_get_the_same_answer(texts):
    root, classifier = texts
    spec = node(type="predictor", component="part.py:Part", inputs={"text": "text"})
    model = Local(spec, root, {"text": None})
    words = ["a", "lovely", "film", "by", "someone", "I", "know"]
    (found,) = ask(explainer(model, root, "anchor_text"), {"text": np.array([" ".join(words)])})
    draw = np.random.default_rng(0)
    drawn = [
        " ".join(w if w in found["rule"] or draw.random() < 0.5 else "UNK" for w in words)
        for _ in range(2000)
    ]
    precision = np.mean(classifier.predict(drawn) == found["target"])
    assert precision >= found["precision"] - CLAIMED


def test_labels_of_texts(texts):
    root, _ = texts
    spec = node(
        type="predictor", component="part.py:Part", args={"labels": True}, inputs={"text": "text"}
    )
    why = explainer(Local(spec, root, {"text": tensor("BYTES")}), root, "anchor_text")
    (found,) = ask(why, {"text": np.array(["a great film"], dtype=object)})
    assert (found["target"], found["rule"]) == ("good", ["great"])


@pytest.mark.nightly
def test_similar_words_say_what_the_library_says(texts):
    root, classifier = texts
    nlp, draw = spacy.blank("en"), np.random.default_rng(0)
    for word in (*GOOD, *BAD, "a", "film", "movie", "by", "someone"):
        nlp.vocab.set_vector(word, draw.normal(size=8).astype(np.float32))
    nlp.to_disk(root / "vectors")
    spec = node(type="predictor", component="part.py:Part", inputs={"text": "text"})
    model = Local(spec, root, {"text": tensor("BYTES")})
    options = {"top_n": 5, "temperature": 2.0, "use_proba": True, "sample_proba": 0.7}
    args = {"sampling_strategy": "similarity", "spacy_model": "vectors", **options}
    why = explainer(model, root, "anchor_text", args=args)
    (found,) = ask(why, {"text": np.array(["a bad film by someone"], dtype=object)}, seed=1)
    direct = library.AnchorText(
        classifier.predict_proba, "similarity", spacy.load(root / "vectors"), seed=1, **options
    )
    np.random.seed(1)
    expected = direct.explain("a bad film by someone").data
    assert found["rule"] == expected["anchor"]
    assert found["coverage"] == pytest.approx(expected["coverage"], abs=1e-6)
    assert found["library"]["raw"]["mean"] == pytest.approx(expected["raw"]["mean"], abs=1e-6)


def test_any_language_that_spacy_has_rules_for(texts):
    root, _ = texts
    spec = node(type="predictor", component="part.py:Part", inputs={"text": "text"})
    model = Local(spec, root, {"text": tensor("BYTES")})
    why = explainer(model, root, "anchor_text", args={"language": "it"})
    text = np.array(["l'awful et great"], dtype=object)
    assert set(ask(why, {"text": text})[0]["rule"]) <= {"l'", "awful", "et", "great"}


def test_words_come_from_a_pipeline_of_the_bundle(texts):
    root, _ = texts
    spacy.blank("de").to_disk(root / "german")
    spec = node(type="predictor", component="part.py:Part", inputs={"text": "text"})
    model = Local(spec, root, {"text": tensor("BYTES")})
    why = explainer(model, root, "anchor_text", args={"spacy_model": "german"})
    assert ask(why, {"text": np.array(["a great film"], dtype=object)})[0]["rule"] == ["great"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (np.array([" "], dtype=object), "the text has none"),
        (np.array([1.0]), r"explains BYTES \[-1\], not float64\[1\]"),
        (np.array([["a", "b"]], dtype=object), r"explains BYTES \[-1\], not object\[1, 2\]"),
    ],
)
def test_what_is_no_text(texts, text, message):
    root, _ = texts
    spec = node(type="predictor", component="part.py:Part", inputs={"text": "text"})
    why = explainer(Local(spec, root, {"text": None}), root, "anchor_text")
    with pytest.raises(InvalidRequest, match=message):
        ask(why, {"text": text})


# Images


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    root = tmp_path_factory.mktemp("digits")
    x, y = datasets.load_digits(return_X_y=True)
    classifier = linear_model.LogisticRegression(max_iter=5000).fit(x, y)
    joblib.dump(classifier, root / "digits.joblib")
    np.save(root / "images.npy", x[:50])
    (root / "part.py").write_text(
        "import joblib\nfrom pathlib import Path\n"
        "class Part:\n    def __init__(self):\n"
        "        self.model = joblib.load(Path(__file__).with_name('digits.joblib'))\n"
        "    def predict(self, x):\n"
        "        return self.model.predict_proba(x.reshape(len(x), 64))\n"
    )
    return root, x, classifier


SEGMENTS = {"n_segments": 8, "compactness": 1, "sigma": 0.1}


@pytest.mark.parametrize(
    ("shape", "args", "data"),
    [
        ((64,), {"image_shape": [8, 8]}, "images.npy"),
        ((8, 8), {}, None),
        ((8, 8, 1), {}, "images.npy"),
        ((1, 8, 8), {"channels": "first"}, None),
    ],
)
def test_images_say_what_the_library_says(digits, shape, args, data):
    root, x, classifier = digits
    model = Local(
        node(type="predictor", component="part.py:Part"), root, {"x": tensor("FP32", *shape)}
    )
    why = explainer(
        model, root, "anchor_image", data=data, args={**args, "segmentation_kwargs": SEGMENTS}
    )
    rows = x[:2].astype(np.float32).reshape(2, *shape)
    found = ask(why, {"x": rows}, seed=2)
    for one, row in zip(found, x, strict=False):
        direct = library.AnchorImage(
            lambda images: classifier.predict_proba(images.reshape(-1, 64)),
            (8, 8, 1),
            segmentation_fn="slic",
            segmentation_kwargs={**SEGMENTS, "start_label": 0},
            images_background=None if data is None else x[:50].reshape(-1, 8, 8, 1),
            seed=2,
        )
        expected = direct.explain(row.reshape(8, 8, 1)).data
        kept = expected["raw"]["feature"]
        assert one["rule"] == [f"superpixel {number}" for number in kept]
        assert one["library"]["precision"] == pytest.approx(expected["precision"], abs=1e-6)
        mask = np.isin(expected["segments"], kept).astype(float).reshape(shape)
        np.testing.assert_array_equal(one["attributions"], mask)
        assert one["library"]["segments"] == expected["segments"].tolist()
    assert [one["target"] for one in found] == classifier.predict(x[:2]).tolist()


def test_images_in_colour(digits):
    root, _, _ = digits
    (root / "red.py").write_text(
        "class Part:\n    def predict(self, x):\n"
        "        return (x[:, 0].mean((1, 2)) > 0.5).astype(int)\n"
    )
    model = Local(
        node(type="predictor", component="red.py:Part"), root, {"x": tensor("FP32", 3, 8, 8)}
    )
    image = np.random.default_rng(0).random((1, 3, 8, 8)).astype(np.float32)
    args = {"channels": "first", "segmentation_fn": "felzenszwalb"}
    (found,) = ask(explainer(model, root, "anchor_image", args=args), {"x": image})
    assert np.shape(found["attributions"]) == (3, 8, 8)
    with pytest.raises(REFUSED, match=r"image_shape is \[8, 8\], but the explained node takes"):
        explainer(model, root, "anchor_image", args={"image_shape": [8, 8]})


def test_what_is_no_image(digits):
    root, _, _ = digits
    model = Local(
        node(type="predictor", component="part.py:Part"), root, {"x": tensor("FP32", 8, 8)}
    )
    why = explainer(model, root, "anchor_image")
    with pytest.raises(InvalidRequest, match="all pixels of one are equal"):
        ask(why, {"x": np.zeros((1, 8, 8))})
    with pytest.raises(InvalidRequest, match=r"explains images \[8, 8\], not float64\[1, 8, 9\]"):
        ask(why, {"x": np.zeros((1, 8, 9))})


def test_what_they_fit():
    def fits(method, **fields):
        return registry.get("explainer", method).fits(node(type="predictor", **fields))

    assert fits("anchor_text", runtime="sklearn", model="m") is None
    assert fits("anchor_text", component="a.py:A") is None
    assert "xgboost takes numbers" in fits("anchor_text", runtime="xgboost", model="m")
    for method in ("anchor_tabular", "anchor_image"):
        assert fits(method, runtime="xgboost", model="m") is None
        assert "takes texts" in fits(method, runtime="huggingface", model="m")
