import json
from hashlib import sha256
from pathlib import Path

import pytest

from anabranch.client.bundle.unpacking import manifest_spec
from anabranch.client.portable.bundle import BundleManifest, is_bundle, open_bundle
from anabranch.client.portable.making import Artefacts
from anabranch.components.artefacts.bundled import FOLDER, MANIFEST, artefacts_in, beside, bundled
from anabranch.errors import ArtefactError, InvalidRequest
from tests.client.portable.bundles import MODEL, SPEC, URI, artefacts, drafted, of_parts


def test_a_bundle_says_what_it_is_and_unpacks_with_its_models(tmp_path: Path) -> None:
    drafted(tmp_path / "parts", {"code/a.py": b"A = 1"}).write(tmp_path / "fruit.bundle")
    bundle = open_bundle(tmp_path / "fruit.bundle")
    assert (bundle.manifest.graph, bundle.manifest.version) == ("fruit", "1.2.0")
    assert list(bundle.manifest.artefacts) == [URI]
    spec = bundle.unpack(tmp_path / "there")
    assert spec == tmp_path / "there" / "graph.yaml"
    assert (tmp_path / "there/code/a.py").read_bytes() == b"A = 1"
    pinned = bundled(f"{URI}#inside", tmp_path / "there")
    assert pinned is not None
    place = beside(pinned, tmp_path / "there")
    assert place is not None
    assert (place.name, place.read_bytes()) == ("fruit.onnx", MODEL)


def test_folders_and_archives_lie_unpacked_beside_the_spec(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_bytes(b"1234")
    models = artefacts(tmp_path / "packed", {"s3://models/net": folder})
    of_parts({"graph.yaml": SPEC.encode()}, models).write(tmp_path / "x.bundle")
    bundle = open_bundle(tmp_path / "x.bundle")
    (one,) = bundle.manifest.artefacts.values()
    place = beside(one, bundle.unpack(tmp_path / "there").parent)
    assert place is not None
    assert (place.name, (place / "deep/weights").read_bytes()) == ("net", b"1234")


def test_the_same_folder_gives_the_same_artefact(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name / "net"
        folder.mkdir(parents=True)
        for file in ("b", "a") if name == "one" else ("a", "b"):
            (folder / file).write_text(file)
        found.append(artefacts(tmp_path / name / "packed", {"s3://m/net": folder}).by_uri)
    assert found[0] == found[1]


def test_without_models_by_uri_its_code_is_that_of_a_deploy(tmp_path: Path) -> None:
    of_parts({"graph.yaml": SPEC.encode()}, Artefacts()).write(tmp_path / "x.bundle")
    bundle = open_bundle(tmp_path / "x.bundle")
    assert json.loads(bundle.files[MANIFEST]) == {"spec": "graph.yaml"}
    assert bundle.code.digest == bundle.manifest.code


def test_a_bundle_is_known_by_its_name_or_its_first_bytes(tmp_path: Path) -> None:
    drafted(tmp_path / "parts").write(tmp_path / "fruit.tar")
    (tmp_path / "damaged.bundle").write_bytes(b"?")
    (tmp_path / "graph.yaml").write_text(SPEC)
    found = {path.name for path in tmp_path.iterdir() if is_bundle(path)}
    assert found == {"fruit.tar", "damaged.bundle"}


def test_a_folder_that_is_there_is_not_written_to(tmp_path: Path) -> None:
    drafted(tmp_path / "parts").write(tmp_path / "fruit.bundle")
    with pytest.raises(InvalidRequest, match="is there already"):
        open_bundle(tmp_path / "fruit.bundle").unpack(tmp_path)


def test_a_manifest_that_pins_other_models_is_refused(tmp_path: Path) -> None:
    draft = drafted(tmp_path / "parts")
    other = of_parts({"graph.yaml": SPEC.encode()}, Artefacts())
    mixed = type(draft)(
        type(draft.bundle).make(
            draft.bundle.artifact_type, other.bundle.layers, draft.bundle.config
        ),
        {**draft.blobs, **other.blobs},
    )
    mixed.write(tmp_path / "x.bundle")
    with pytest.raises(InvalidRequest, match=r"x\.bundle is no portable bundle .*digest"):
        open_bundle(tmp_path / "x.bundle")


def test_code_in_the_place_of_the_models_is_refused(tmp_path: Path) -> None:
    """It would be loaded instead of the model whose digest the manifest pins."""
    place = f"{FOLDER}/{sha256(MODEL).hexdigest()}/fruit.onnx"
    drafted(tmp_path / "parts", {place: b"another model"}).write(tmp_path / "x.bundle")
    with pytest.raises(InvalidRequest, match="in the place of its models"):
        open_bundle(tmp_path / "x.bundle")


def test_a_manifest_that_is_nested_too_deep_is_refused() -> None:
    deep = b"[" * 100_000
    with pytest.raises(ArtefactError, match="does not pin"):
        artefacts_in(deep)
    with pytest.raises(InvalidRequest, match="malformed"):
        BundleManifest.read(deep)
    with pytest.raises(InvalidRequest, match="names its spec"):
        manifest_spec(deep)
