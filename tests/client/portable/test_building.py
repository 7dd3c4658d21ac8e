"""Builds of real projects, with models by URI of files and of a real HTTP server."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from anabranch.cli.reports.bundles import bundle_text, bundle_view
from anabranch.client.graph import Graph
from anabranch.client.portable.building import build
from anabranch.client.portable.bundle import PortableBundle, open_bundle
from anabranch.client.prepared import prepare
from anabranch.components.artefacts import fetching
from anabranch.components.artefacts.bundled import beside
from anabranch.errors import InvalidRequest, SpecError, StorageError
from anabranch.graph.compile.loading import open_graph
from tests.client.portable.test_locking import index  # noqa: F401
from tests.components.artefacts.files import serving
from tests.disks import names
from tests.release_keys import Keys

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: fruit}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    m: {type: predictor, runtime: onnx, model: "MODEL", inputs: {x: x}EXTRA}
  outputs: {y: m}
"""
MODEL = b"not really a model"


def project(folder: Path, model: str, extra: str = "", **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    (folder / "graph.yaml").write_text(SPEC.replace("MODEL", model).replace("EXTRA", extra))
    return folder / "graph.yaml"


def made(spec: Path, target: Path, **options: object) -> PortableBundle:
    return build(spec, target, spec.parent / "home", **options).bundle  # type: ignore[arg-type]


def test_the_same_content_gives_the_same_digest_wherever_it_is_built(tmp_path: Path) -> None:
    (tmp_path / "fruit.onnx").write_bytes(MODEL)
    uri = (tmp_path / "fruit.onnx").as_uri()
    one = made(project(tmp_path / "one", uri, code_py="A = 1"), tmp_path / "1.bundle")
    two = made(project(tmp_path / "two", uri, code_py="A = 1"), tmp_path / "2.bundle")
    other = made(project(tmp_path / "two", uri, code_py="A = 2"), tmp_path / "3.bundle")
    assert one.digest == two.digest != other.digest
    assert one.manifest.artefacts[uri].sha256 == sha256(MODEL).hexdigest()


def test_models_come_along_from_a_server_that_is_gone_later(tmp_path: Path) -> None:
    with serving() as served:
        served.files["/fruit.onnx"] = MODEL
        spec = project(tmp_path / "p", f"{served.url}/fruit.onnx")
        bundle = made(spec, tmp_path / "x.bundle")
    spec = bundle.unpack(tmp_path / "there")
    (one,) = bundle.manifest.artefacts.values()
    place = beside(one, spec.parent)
    assert place is not None and place.read_bytes() == MODEL
    assert open_graph(spec).graph.name == "fruit"


def test_folders_and_archives_by_uri_come_along_whole(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "fruit.onnx").write_bytes(MODEL)
    uri = (tmp_path / "net").as_uri()
    bundle = made(project(tmp_path / "p", f"{uri}#fruit.onnx"), tmp_path / "x.bundle")
    assert bundle.manifest.artefacts[uri].folder
    assert bundle.sbom is not None
    assert bundle.sbom["components"][0]["name"] == "net"


def test_a_model_that_cannot_be_fetched_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_PAUSES_S", ())
    for uri, reason in {
        (tmp_path / "none.onnx").as_uri(): "there is no such file",
        "http://127.0.0.1:9/x.onnx": "cannot be fetched",
    }.items():
        with pytest.raises(InvalidRequest, match=f"node 'm': '{uri}': .*{reason}"):
            made(project(tmp_path / "p", uri), tmp_path / "x.bundle")
    assert "x.bundle" not in names(tmp_path)


def test_a_model_with_another_digest_than_the_spec_says_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fruit.onnx").write_bytes(MODEL)
    spec = project(tmp_path / "p", (tmp_path / "fruit.onnx").as_uri(), f", sha256: {'0' * 64}")
    with pytest.raises(InvalidRequest, match=f"its sha256 is {sha256(MODEL).hexdigest()}"):
        made(spec, tmp_path / "x.bundle")


def test_a_model_of_each_request_cannot_come_along(tmp_path: Path) -> None:
    spec = project(tmp_path / "p", "s3://models/{model}.onnx", ", multiplex: {max_loaded: 2}")
    with pytest.raises(InvalidRequest, match="another model with each request"):
        made(spec, tmp_path / "x.bundle")


def test_mistakes_of_a_spec_are_told_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="nowhere"):
        made(project(tmp_path / "p", "nowhere/fruit.onnx"), tmp_path / "x.bundle")


@pytest.mark.usefixtures("index")
def test_requirements_become_a_lock_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "fruit.onnx").write_bytes(MODEL)
    uri = (tmp_path / "fruit.onnx").as_uri()
    spec = project(tmp_path / "p", uri, requirements_txt="tinydep\n")
    bundle = made(spec, tmp_path / "x.bundle")
    assert b"tinydep==2.0" in bundle.files["requirements.txt"]
    assert "pkg:pypi/tinydep@2.0" in json.dumps(bundle.sbom)
    assert (tmp_path / "p" / "requirements.txt").read_text() == "tinydep\n"
    plain = made(spec, tmp_path / "y.bundle", unlocked=True)
    assert plain.files["requirements.txt"] == b"tinydep\n"


def test_no_secret_is_in_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "fruit.onnx").write_bytes(MODEL)
    keys = Keys(tmp_path, "ours")
    uri = (tmp_path / "fruit.onnx").as_uri()
    spec = project(tmp_path / "p", uri, private_key=keys.private.read_text(), a_env="X=1")
    built = build(spec, tmp_path / "x.bundle", tmp_path / "home", sign=keys.private)
    assert set(built.bundle.files) == {"anabranch.json", "graph.yaml"}
    assert any("never holds secrets" in warning for warning in built.warnings)


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "fruit.onnx").write_bytes(MODEL)
    spec = project(tmp_path / "p", (tmp_path / "fruit.onnx").as_uri())
    with pytest.raises(StorageError, match=r"does not take x\.bundle"):
        made(spec, tmp_path / "none" / "x.bundle")


def test_without_a_target_it_is_named_after_graph_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fruit.onnx").write_bytes(MODEL)
    monkeypatch.chdir(tmp_path)
    spec = project(tmp_path / "p", (tmp_path / "fruit.onnx").as_uri())
    build(spec, None, tmp_path / "home", version="1.2.0")
    assert open_bundle(Path("fruit-1.2.0.bundle")).manifest.version == "1.2.0"


def test_a_graph_that_was_built_in_python_goes_into_a_bundle_too(tmp_path: Path) -> None:
    (tmp_path / "fruit.onnx").write_bytes(MODEL)
    uri, root = (tmp_path / "fruit.onnx").as_uri(), tmp_path / "project"
    root.mkdir()
    (root / "code.py").write_text("A = 1")
    graph = (
        Graph("fruit", root=root)
        .input("x", "FP32", [-1, 2])
        .predictor("m", runtime="onnx", model=uri, inputs={"x": "x"})
        .output("y", "m")
    )
    path = graph.build(tmp_path / "fruit.bundle", version="1.2.0")
    found = open_bundle(path)
    assert set(found.files) == {"anabranch.json", "code.py", "graph.built.yaml"}
    assert list(found.manifest.artefacts) == [uri]


def test_a_watch_that_has_no_effect_is_told_at_build_and_at_deploy(tmp_path: Path) -> None:
    (tmp_path / "fruit.onnx").write_bytes(MODEL)
    uri = (tmp_path / "fruit.onnx").as_uri()
    spec = project(tmp_path / "p", uri, extra=", watch: true")
    (said,) = build(spec, tmp_path / "x.bundle", tmp_path / "home").warnings
    assert "node 'm': `watch` has no effect" in said and uri in said
    assert list(prepare(tmp_path / "x.bundle", tmp_path / "home").warnings) == [said]
    still = project(tmp_path / "q", uri)
    assert build(still, tmp_path / "y.bundle", tmp_path / "home").warnings == ()


def test_the_shared_models_that_a_graph_needs_are_in_the_manifest(tmp_path: Path) -> None:
    spec = project(tmp_path / "p", "fruit.onnx", fruit_onnx="")
    bundle = made(spec, tmp_path / "x.bundle")
    assert "shared" not in bundle.manifest.to_json()
    nodes = "".join(
        f'    {name}: {{type: predictor, model: "shared://{model}", inputs: {{x: x}}}}\n'
        for name, model in {"one": "b@2", "two": "a", "three": "b@2"}.items()
    )
    text = spec.read_text().replace(
        "  outputs: {y: m}", f"{nodes}  outputs: {{y: m, a: one, b: two, c: three}}"
    )
    spec.write_text(text)
    bundle = made(spec, tmp_path / "y.bundle")
    assert bundle.manifest.shared == ("shared://a", "shared://b@2")
    assert "needs   shared://a, shared://b@2" in bundle_text(bundle_view(bundle))
