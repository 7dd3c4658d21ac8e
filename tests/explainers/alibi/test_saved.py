"""Fitted explainers, saved by Alibi and loaded under the rules of trust; the missing extra."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from anabranch.components import extras, registry
from anabranch.components.artefacts.digests import path_digest
from tests.explainers.local import REFUSED, Local, ask, explainer, node, tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    library = pytest.importorskip("alibi.explainers")
    spacy = pytest.importorskip("spacy")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def model(cancer):
    spec = node(type="predictor", runtime="sklearn", model="forest.joblib", method="predict_proba")
    return Local(spec, cancer.root, {"x": tensor("FP32", 8)})


def fitted(cancer, cls):
    sample = cancer.x[:100].astype(np.float64)
    return cls(cancer.forest.predict_proba, feature_names=cancer.names, seed=0).fit(sample)


@pytest.mark.parametrize(
    ("method", "cls", "args"),
    [("anchor_tabular", "AnchorTabular", {}), ("kernel_shap", "KernelShap", {"nsamples": 64})],
)
def test_what_was_saved_explains_as_what_is_fitted_on_the_spot(cancer, model, method, cls, args):
    fitted(cancer, getattr(library, cls)).save(cancer.root / "saved" / method)
    digest = path_digest(cancer.root / "saved" / method)
    why = explainer(model, cancer.root, method, model=f"saved/{method}", sha256=digest, args=args)
    fresh = explainer(model, cancer.root, method, data="sample.npz", args=args)
    x = {"x": cancer.x[[0, 200]]}
    found = ask(why, x, seed=4)
    assert found == ask(fresh, x, seed=4)
    assert found[0]["seed"] == 4
    assert model.calls  # the model is the node's, not what was saved along


@pytest.mark.parametrize(
    ("method", "cls"), [("anchor_tabular", "AnchorTabular"), ("kernel_shap", "KernelShap")]
)
def test_what_was_saved_knows_no_texts(cancer, flats, method, cls):
    fitted(cancer, getattr(library, cls)).save(flats.root / "saved")
    digest = path_digest(flats.root / "saved")
    with pytest.raises(REFUSED, match="numbers only, but district are BYTES: give it `data`"):
        explainer(flats.model(), flats.root, method, model="saved", sha256=digest)


@pytest.mark.nightly
def test_saved_explainers_of_texts_and_images(tmp_path):
    (tmp_path / "part.py").write_text(
        "import numpy as np\n"
        "class Text:\n    def predict(self, text):\n"
        "        return np.array([int('good' in str(t)) for t in text])\n"
        "class Image:\n    def predict(self, x):\n        return (x[:, 0, 0] > 0.5).astype(int)\n"
    )
    library.AnchorText(
        lambda texts: np.array([int("good" in text) for text in texts]), nlp=spacy.blank("en")
    ).save(tmp_path / "text")
    library.AnchorImage(
        lambda x: (x[:, 0, 0, 0] > 0.5).astype(int), (8, 8, 1), segmentation_fn="felzenszwalb"
    ).save(tmp_path / "image")
    text = Local(
        node(type="predictor", component="part.py:Text", inputs={"text": "t"}),
        tmp_path,
        {"text": tensor("BYTES")},
    )
    image = Local(
        node(type="predictor", component="part.py:Image"), tmp_path, {"x": tensor("FP64", 8, 8)}
    )
    (words,) = ask(
        explainer(text, tmp_path, "anchor_text", model="text"),
        {"text": np.array(["a good day"], dtype=object)},
    )
    assert words["rule"] == ["good"]
    picture = np.zeros((1, 8, 8))
    picture[:, :4] = 1
    (pixels,) = ask(explainer(image, tmp_path, "anchor_image", model="image"), {"x": picture})
    assert (pixels["target"], pixels["precision"]) == (1, 1)
    assert np.shape(pixels["attributions"]) == (8, 8)


def test_groups_are_saved_too(cancer, model):
    sample = cancer.x[:20].astype(np.float64)
    groups = {"group_names": ["size", "shape"], "groups": [[0, 1, 2, 3], [4, 5, 6, 7]]}
    explaining = library.KernelShap(cancer.forest.predict_proba, seed=0).fit(sample, **groups)
    explaining.save(cancer.root / "saved" / "groups")
    why = explainer(model, cancer.root, "kernel_shap", model="saved/groups")
    (found,) = ask(why, {"x": cancer.x[:1]})
    assert found["feature_names"] == ["size", "shape"]
    assert found["base_value"] + sum(found["attributions"]) == pytest.approx(found["prediction"])


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("kernel_shap", {"link": "logit", "feature_names": ["a"]}),
        ("anchor_tabular", {"disc_perc": [50.0]}),
        ("anchor_text", {"language": "de"}),
        ("anchor_image", {"segmentation_fn": "quickshift"}),
    ],
)
def test_what_is_fixed_in_a_saved_explainer(method, args):
    found = registry.problems(node(type="explainer", method=method, model="m", args=args))
    assert [path for path, _ in found] == [("args", name) for name in args]
    assert all("which has its own; remove this" in message for _, message in found)


def test_a_saved_explainer_of_another_method(cancer, model):
    fitted(cancer, library.KernelShap).save(cancer.root / "saved" / "shap")
    with pytest.raises(REFUSED, match="is a saved KernelShap, not AnchorTabular"):
        explainer(model, cancer.root, "anchor_tabular", model="saved/shap")


def test_what_is_no_saved_explainer(cancer, model):
    (cancer.root / "odd").mkdir(exist_ok=True)
    (cancer.root / "odd" / "meta.dill").write_bytes(b"nothing of the kind")
    with pytest.raises(REFUSED, match="cannot load odd: UnpicklingError"):
        explainer(model, cancer.root, "anchor_tabular", model="odd")
    with pytest.raises(REFUSED, match=r"'sample\.npz' is no folder that an explainer of Alibi"):
        explainer(model, cancer.root, "kernel_shap", model="sample.npz")
    with pytest.raises(REFUSED, match="its sha256 is"):
        explainer(model, cancer.root, "kernel_shap", model="odd", sha256="0" * 64)


@pytest.mark.parametrize("method", ["anchor_tabular", "anchor_text", "anchor_image", "kernel_shap"])
def test_by_uri_it_needs_a_digest(method):
    spec = {"type": "explainer", "method": method, "model": "s3://bucket/why"}
    found = dict(registry.problems(node(**spec)))
    assert "can run code when it is loaded: add `sha256:` (run" in found[("sha256",)]
    assert not registry.problems(node(**spec, sha256="0" * 64))


@pytest.mark.parametrize("method", ["anchor_tabular", "kernel_shap", "ale"])
def test_the_missing_extra_is_named_with_its_licence(cancer, model, monkeypatch, method):
    def refuse(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(extras.importlib, "import_module", refuse)
    with pytest.raises(REFUSED) as raised:
        explainer(model, cancer.root, method, data="sample.npz")
    assert "alibi cannot be imported" in str(raised.value)
    assert "pip install 'anabranch[explain]'" in str(raised.value)
    assert "Business Source License 1.1" in str(raised.value)


@pytest.mark.parametrize(
    ("method", "data"),
    [("anchor_tabular", "sample.npz"), ("kernel_shap", "sample.npz"), ("tree_shap", None)],
)
def test_no_rows_have_no_explanations(cancer, model, method, data):
    why = explainer(model, cancer.root, method, data=data)
    assert ask(why, {"x": cancer.x[:0]}) == []
