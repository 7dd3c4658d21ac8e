"""Portable bundles: the same file on two engines, by a registry, signed, and never changed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from anabranch.client.portable.bundle import open_bundle
from tests.components.artefacts.files import serving
from tests.engines import BODY, Engine, done
from tests.registries import real_registry
from tests.release_keys import Keys

pytestmark = pytest.mark.e2e

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: NAME}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    near: {type: predictor, runtime: onnx, model: "URL/near.onnx", inputs: {x: x}}
    far:
      type: predictor
      runtime: onnx
      model: "FILE"
      inputs: {x: near}
      placement: {isolate: true}
  outputs: {y: far}
"""
ANSWER = [[(1 * 1 + 2 * 3) * 3.0 + (1 * 2 + 2 * 4) * 4.0] * 2]
"""``BODY`` through both models."""


def linear(path: Path, weights: list[list[float]]) -> None:
    """Write a model that multiplies ``x`` by a matrix."""
    matrix = helper.make_tensor(
        "w", onnx.TensorProto.FLOAT, [2, 2], np.float32(weights).ravel().tolist()
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 2])],
        [matrix],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


@dataclass
class Released:
    """A bundle whose models are nowhere else any more, and the keys that have signed a copy."""

    plain: Path
    signed: Path
    keys: Keys


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Released]:
    folder = tmp_path_factory.mktemp("release")
    keys = Keys(folder, "release")
    linear(folder / "near.onnx", [[1, 2], [3, 4]])
    linear(folder / "far.onnx", [[3, 3], [4, 4]])
    project = folder / "project"
    project.mkdir()
    with serving() as server:
        server.files["/near.onnx"] = (folder / "near.onnx").read_bytes()
        text = SPEC.replace("NAME", "portable").replace("URL", server.url)
        (project / "graph.yaml").write_text(text.replace("FILE", (folder / "far.onnx").as_uri()))
        plain, signed = folder / "plain.bundle", folder / "signed.bundle"
        build = ("build", project / "graph.yaml", "--version", "1.2.0", "-o")
        done(engine.command(*build, plain))
        done(engine.command(*build, signed, "--sign", keys.private))
    (folder / "far.onnx").unlink()
    yield Released(plain, signed, keys)
    engine.command("delete", "portable", "--yes")


@pytest.fixture(scope="module")
def strict(released: Released) -> Iterator[Engine]:
    """Another engine, which takes signed bundles only."""
    env = {"ANABRANCH_BUNDLE_KEYS": str(released.keys.public)}
    with tempfile.TemporaryDirectory(prefix="anabranch-", ignore_cleanup_errors=True) as folder:
        one = Engine(Path(folder) / "home", env)
        try:
            one.up()
            yield one
        finally:
            one.down()


def deployed(engine: Engine, what: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done(engine.process("deploy", what, "-o", "json")).stdout)
    return found


def answer(engine: Engine) -> Any:
    reply = engine.infer("portable", BODY)
    assert reply.status_code == 200, reply.text
    (output,) = reply.json()["outputs"]
    return np.reshape(output["data"], output["shape"]).tolist()


@pytest.mark.nightly  # tests/client/portable compares digests
def test_two_engines_give_the_same_digest_and_the_same_answers(
    engine: Engine, strict: Engine, released: Released, tmp_path: Path
) -> None:
    """One takes the file, the other takes it from a registry; neither asks for the models."""
    first = deployed(engine, released.plain)
    with real_registry(tmp_path) as host:
        place = f"oci://{host}/models/portable:1.2.0"
        done(strict.command("push", released.signed, place))
        second = deployed(strict, place)
    assert first["bundle"]["digest"] == second["bundle"]["digest"]
    digests = [
        one.api("GET", "/graphs/portable/revisions/1").json()["digest"] for one in (engine, strict)
    ]
    assert set(digests) == {open_bundle(released.plain).manifest.code}
    assert answer(engine) == answer(strict) == ANSWER
    again = deployed(engine, released.signed)
    assert (again["new"], again["revision"]) == (False, 1)


@pytest.mark.nightly  # tests/control/release asks for signatures, too
def test_an_engine_that_asks_for_signatures_refuses_a_bundle_without(
    strict: Engine, released: Released
) -> None:
    refused = strict.command("deploy", released.plain)
    assert refused.returncode == 1
    assert "is not signed" in refused.stderr
    told = done(strict.command("verify", released.signed, "--keys", released.keys.public)).stdout
    assert open_bundle(released.plain).digest in told
    refused = strict.command("verify", released.plain, "--keys", released.keys.public)
    assert refused.returncode == 1
    assert "has no signature" in refused.stderr


def test_a_changed_byte_is_refused_and_changes_nothing(
    engine: Engine, released: Released, tmp_path: Path
) -> None:
    deployed(engine, released.plain)
    content = bytearray(released.plain.read_bytes())
    before = engine.graph("portable")["revisions"]
    for at in range(100, len(content), len(content) // 5):
        changed = bytearray(content)
        changed[at] ^= 1
        path = tmp_path / "changed.bundle"
        path.write_bytes(changed)
        refused = engine.command("deploy", path, "--force")
        assert refused.returncode == 1
        assert "is no portable bundle, or was changed or damaged" in refused.stderr
    assert engine.graph("portable")["revisions"] == before


@pytest.mark.nightly
def test_an_engine_that_starts_anew_still_has_the_models(
    strict: Engine, released: Released
) -> None:
    deployed(strict, released.signed)
    strict.down()
    strict.up()
    assert answer(strict) == ANSWER


def test_a_backup_brings_the_models_to_another_home(
    strict: Engine, released: Released, tmp_path: Path
) -> None:
    deployed(strict, released.signed)
    done(strict.command("backup", tmp_path / "backup.zip"))
    other = Engine(tmp_path / "home")
    done(other.command("restore", tmp_path / "backup.zip"))
    kept = [
        {one.name for one in (home / "bundles").iterdir()} for home in (strict.home, other.home)
    ]
    assert kept[0] == kept[1]
    assert sum(name.endswith(".blob") for name in kept[0]) == 2
