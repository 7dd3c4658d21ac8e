from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.artefacts import uris


@pytest.mark.parametrize(
    ("model", "name", "suffix"),
    [
        ("s3://b/models/m.skops", "m.skops", ".skops"),
        ("s3://b/m.skops?x=.pkl", "m.skops", ".skops"),
        ("https://h/m.pkl?x=.skops", "m.pkl", ".pkl"),
        ("https://h/m.pkl#.skops", "m.pkl", ""),
        ("https://h/", "model", ""),
        ("https://h", "model", ""),
        ("https://h/a%2F..%2Fm.onnx", "m.onnx", ".onnx"),
        ("https://h/%2e%2e", "model", ""),
        ("https://h/a%00b.onnx", "a_b.onnx", ".onnx"),
        ("https://h/" + "a" * 500 + ".onnx", "a" * 195 + ".onnx", ".onnx"),
        ("models:/m@champion#model.PKL", "m@champion", ".pkl"),
        ("models:/m/3", "3", ""),
        ("hf://owner/repository@main/m.safetensors", "m.safetensors", ".safetensors"),
    ],
)
def test_names(model: str, name: str, suffix: str) -> None:
    assert (uris.filename(model), uris.suffix(model)) == (name, suffix)


@given(st.text(max_size=60))
def test_a_name_is_always_one_plain_name(text: str) -> None:
    name = uris.filename(f"https://h/{text}")
    assert name not in ("", ".", "..") and not set(name) & set("/\\\0\n:")


@pytest.mark.parametrize(
    "model",
    [
        "models/m.onnx", "C:/m.onnx", "file:///m", "file://localhost/m", "http://h/m?x=1",
        "https://h:99/a.zip#in/side.onnx", "s3://bucket/key", "gs://b/k", "az://c/k", "abfs://c/k",
        "abfss://container@account.dfs.core.windows.net/k", "hf://owner/repository@main/file",
        "models:/m@champion", "models:/m/12", "models:/m/latest",
        "models:/m/Production", "models:/m-" + "0" * 32, "models:///m/1#model.onnx",
        "runs:/" + "a" * 32 + "/model", "runs:/abc/a/b", "mlflow-artifacts:/1/abc/artifacts/model",
    ],
)  # fmt: skip
def test_references_that_may_be(model: str) -> None:
    assert uris.problem(model) is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("ftp://h/m", "the scheme 'ftp' is not known"),
        ("memory://m", "the scheme 'memory' is not known"),
        ("local:/etc/passwd", "the scheme 'local' is not known"),
        ("file://host/m", "write file:///absolute/path"),
        ("file:/m", None),
        ("https://user:secret@h/m", "a URI holds no user or password"),
        ("s3://key:secret@bucket/m", "a URI holds no user or password"),
        ("https:///m", "write https://host-or-bucket/path"),
        ("s3:/m", "write s3://host-or-bucket/path"),
        ("models:/m", "write models:/name@alias"),
        ("models:/m/newest", "write models:/name@alias"),
        ("models:/m/../1", "write models:/name@alias"),
        ("models:/m@a@b", "write models:/name@alias"),
        ("runs:/abc", "write runs:/run-id/path"),
        ("mlflow-artifacts://host/m", "write mlflow-artifacts:/path"),
        ("mlflow-artifacts:/../m", "write mlflow-artifacts:/path"),
        ("https://h/m.zip#", "must be a path inside"),
        ("https://h/m.zip#../m", "must be a path inside"),
        ("https://h/m.zip#/etc/passwd", "must be a path inside"),
        ("https://h/m\n", "no control characters"),
        ("http://[::1/m", "square brackets in a host hold an IPv6 address"),
    ],
)
def test_references_that_may_not_be(model: str, message: str | None) -> None:
    found = uris.problem(model)
    assert found is None if message is None else message in (found or "")
    assert "secret" not in (found or "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@h/m?X-Amz-Signature=abc", "https://h/m?…"),
        (
            "cannot GET 'https://h/m?sig=abc' for a reason",
            "cannot GET 'https://h/m?…' for a reason",
        ),
        ("s3://b/m", "s3://b/m"),
        ("two http://a/?b=c http://u@d/e?f", "two http://a/?… http://d/e?…"),
    ],
)
def test_secrets_are_left_out(text: str, shown: str) -> None:
    assert uris.redacted(text) == shown


@pytest.mark.parametrize(
    ("model", "is_movable"),
    [
        ("models:/m@champion", True),
        ("models:/m@a#b", True),
        ("models:/m/production", True),
        ("models:/m/latest", True),
        ("models:/m/1", False),
        ("m@a", False),
    ],
)
def test_what_moves(model: str, is_movable: bool) -> None:
    assert uris.is_movable(model) is is_movable


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("models/m.onnx", "a path belongs to the bundle"),
        ("models:/m/3", "models:/m/3 is a fixed version; name an alias"),
        ("models:/m-" + "0" * 32, "is a fixed version"),
        ("runs:/abc/model", "is an artefact of a run"),
        ("mlflow-artifacts:/1/model", "is a fixed artefact"),
        ("models:/m@champion#model.skops", None),
        ("models:/m/Staging", None),
        ("file:///models/m.onnx", None),
        ("s3://bucket/m.onnx", None),
        ("https://h/m.onnx", None),
    ],
)
def test_what_can_be_watched(model: str, why: str | None) -> None:
    found = uris.unwatchable(model)
    assert found is None if why is None else why in (found or "")
