"""Portable bundles by the command line: built, signed, verified, checked, deployed."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from anabranch.client.portable import sending
from anabranch.client.portable.bundle import open_bundle
from tests.cli.conftest import Served
from tests.registries import small_registry
from tests.release_keys import Keys

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: digits}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes: {m: {type: predictor, runtime: onnx, model: "URI", inputs: {x: x}}}
  outputs: {y: m}
"""
MODEL = b"not really a model" * 1000


@pytest.fixture
def bundle(engine: Served, tmp_path: Path) -> Path:
    """A bundle whose model is nowhere else any more."""
    model, project = tmp_path / "m.onnx", tmp_path / "project"
    project.mkdir()
    model.write_bytes(MODEL)
    (project / "graph.yaml").write_text(SPEC.replace("URI", model.as_uri()))
    path = tmp_path / "digits.bundle"
    told = engine.text("build", str(project / "graph.yaml"), "--version", "7", "-o", str(path))
    assert f"digest  {open_bundle(path).digest}" in told
    assert "signed  by nobody" in told
    model.unlink()
    return path


def test_a_bundle_is_signed_and_verified(engine: Served, bundle: Path, tmp_path: Path) -> None:
    keys = Keys(tmp_path, "ours")
    refused = engine.run("verify", str(bundle), "--keys", str(keys.public))
    assert "has no signature" in str(refused.exception)
    again = engine.run("build", str(bundle))
    assert again.exit_code == 2 and "is a portable bundle already" in again.output
    assert "signatures: 1" in engine.text("sign", str(bundle), "--key", str(keys.private))
    found = engine.json("verify", str(bundle), "--keys", str(keys.public))
    assert (found["graph"], found["version"], len(found["verified"])) == ("digits", "7", 1)
    assert "built   by " in engine.text("verify", str(bundle), "--keys", str(keys.public))


def test_a_bundle_is_pushed_and_pulled(
    engine: Served, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with small_registry() as registry:
        told = engine.text("push", str(bundle), f"oci://{registry.host}/models/fruit")
        assert told.strip().endswith(f"/models/fruit:7@{open_bundle(bundle).digest}")
        engine.text("pull", f"oci://{registry.host}/models/fruit:7")
        assert engine.json("deploy", f"oci://{registry.host}/models/fruit:7")["new"]
        assert "no change" in engine.text("plan", f"oci://{registry.host}/models/fruit:7")
    assert Path("digits-7.bundle").read_bytes() == bundle.read_bytes()


def test_a_bundle_is_validated_and_planned(engine: Served, bundle: Path) -> None:
    assert engine.text("validate", str(bundle)).strip() == f"{bundle}: ok"
    assert "digits is new" in engine.text("plan", str(bundle))
    engine.text("deploy", str(bundle))
    assert "no change" in engine.text("plan", str(bundle))
    bundle.write_bytes(bundle.read_bytes() + b"x")
    refused = engine.run("validate", str(bundle))
    assert (refused.exit_code, "something follows its end" in refused.output) == (1, True)


def test_its_models_are_sent_once_in_pieces_and_kept(
    engine: Served, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PIECE", 5000)
    digest = sha256(MODEL).hexdigest()
    path = f"/artefacts/{digest}"
    engine.call("PUT", path, f"size={len(MODEL)}&offset=0", MODEL[:7000])
    done = engine.run("deploy", str(bundle))
    assert done.exit_code == 0, done.output
    assert "sending m.onnx: 6.8 KiB of 17.6 KiB" in done.stderr
    assert engine.home.joinpath("bundles", f"{digest}.blob").read_bytes() == MODEL
    again = engine.run("deploy", str(bundle), "--force")
    assert "sending m.onnx" not in again.stderr
    assert engine.store.revision("digits", 2).digest == open_bundle(bundle).manifest.code


def test_a_bundle_whose_models_were_not_sent_is_refused(engine: Served, bundle: Path) -> None:
    code = open_bundle(bundle).code
    status, answer = engine.call("POST", "/graphs/digits/revisions", body=code.data)
    assert status == 400
    assert "pins the model" in answer["error"] and "does not have" in answer["error"]


def test_deploy_adds_a_signature_to_those_of_the_bundle(
    engine: Served, bundle: Path, tmp_path: Path
) -> None:
    keys, other = Keys(tmp_path, "ours"), Keys(tmp_path, "other")
    engine.text("sign", str(bundle), "--key", str(keys.private))
    for trusted in (keys, other):
        engine.parts.releases._keys = trusted.public
        done = engine.json("deploy", str(bundle), "--sign", str(other.private), "--force")
        assert done["new"]
    engine.parts.releases._keys = Keys(tmp_path, "third").public
    refused = engine.run("deploy", str(bundle), "--force")
    assert "signed by none of the 1 keys" in str(refused.exception)


def test_a_file_that_is_not_there_is_a_wrong_usage(engine: Served) -> None:
    done = engine.run("deploy", "none.bundle")
    assert done.exit_code == 2
    assert "'none.bundle' does not exist" in done.output


def test_json_tells_all_of_a_bundle(engine: Served, bundle: Path, tmp_path: Path) -> None:
    keys = Keys(tmp_path, "ours")
    told = engine.text("sign", str(bundle), "--key", str(keys.private), "-o", "json")
    found = json.loads(told)
    (model,) = found["models"].values()
    assert model["sha256"] == sha256(MODEL).hexdigest()
    assert found["digest"] == open_bundle(bundle).digest
