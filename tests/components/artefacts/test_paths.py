from __future__ import annotations

import hashlib

import pytest

from anabranch.components import registry
from anabranch.components.artefacts.paths import model_path
from anabranch.errors import ArtefactError

DIGEST = hashlib.sha256(b"model").hexdigest()


@pytest.fixture
def predictor(node):
    return lambda **fields: node(type="predictor", **{"runtime": "onnx", **fields})


def test_a_path_in_the_bundle(bundle, predictor):
    root = bundle({"models/m.onnx": b"model"})
    assert model_path(predictor(model="models/m.onnx"), root).read_bytes() == b"model"
    assert model_path(predictor(model="models/m.onnx", sha256=DIGEST), root).is_file()


def test_a_file_uri_may_be_anywhere(bundle, predictor, tmp_path):
    place = tmp_path / "else where.onnx"
    place.write_bytes(b"model")
    node = predictor(model=place.as_uri(), sha256=DIGEST)
    assert model_path(node, bundle({})) == place


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "the field 'model' is missing"),
        ({"model": "models/n.onnx"}, r"no file 'models/n.onnx' \(did you mean 'm.onnx'"),
        ({"model": "model/m.onnx"}, "there is no folder 'model' either"),
        ({"model": "../m.onnx"}, "must be a path inside the folder of the spec"),
        ({"model": "link.onnx"}, "is a link that leads out"),
        ({"model": "."}, "there is no file '.'"),
        ({"model": "file:///no/such.onnx"}, "there is no such file"),
        ({"model": "file://host/m.onnx"}, "write file:///absolute/path"),
        ({"model": "ftp://bucket/m.onnx"}, "the scheme 'ftp' is not known"),
        ({"model": "models/m.onnx", "sha256": "0" * 64}, f"its sha256 is {DIGEST}, the spec"),
    ],
)  # fmt: skip
def test_errors(bundle, predictor, tmp_path, fields, message):
    root = bundle({"models/m.onnx": b"model"})
    (tmp_path / "m.onnx").write_bytes(b"outside")
    (root / "link.onnx").symlink_to(tmp_path / "m.onnx")
    with pytest.raises(ArtefactError, match=message):
        model_path(predictor(**fields), root)


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({"runtime": "sklearn", "model": "m.joblib"}, False),
        ({"runtime": "sklearn", "model": "s3://b/m.joblib"}, True),
        ({"runtime": "sklearn", "model": "file:///m.pkl?x=.skops"}, True),
        ({"runtime": "sklearn", "model": "s3://b/m.joblib", "sha256": DIGEST}, False),
        ({"runtime": "sklearn", "model": "s3://b/m.skops"}, False),
        ({"runtime": "torch", "model": "https://h/m.pt"}, True),
        ({"runtime": "onnx", "model": "https://h/m.onnx"}, False),
    ],
)
def test_a_uri_needs_a_digest_where_the_format_can_run_code(predictor, fields, needed):
    paths = [path for path, _ in registry.problems(predictor(**fields))]
    assert paths == ([("sha256",)] if needed else [])
