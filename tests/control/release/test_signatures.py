from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from anabranch.client.bundle.keys import read_keys
from anabranch.client.bundle.packing import Bundle, digest, pack
from anabranch.client.bundle.signing import SIGNATURE, signed
from anabranch.client.bundle.unpacking import unpack
from anabranch.control.release.releases import Releases
from anabranch.control.release.signatures import check_signature
from anabranch.control.settings.settings import Settings
from anabranch.errors import EngineError, Forbidden, InvalidRequest, Unavailable
from tests.release_keys import Keys

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: NAME}
spec:
  inputs: {x: {datatype: FP32, shape: [-1]}}
  nodes: {one: {type: combiner, strategy: mean, inputs: [x]}}
  outputs: {y: one}
"""
LIMIT = 2**20


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path, "ours")


def bundle(folder: Path, name: str = "shop") -> Bundle:
    root = folder / f"bundle-{name}"
    root.mkdir(exist_ok=True)
    (root / "graph.yaml").write_text(SPEC.replace("NAME", name))
    return pack(root / "graph.yaml", LIMIT)


def refused(files: dict[str, bytes], keys: Path) -> str:
    with pytest.raises(Forbidden) as caught:
        check_signature(files, keys)
    return str(caught.value)


def test_a_signed_bundle_has_the_same_content(tmp_path: Path, keys: Keys) -> None:
    plain = bundle(tmp_path)
    files = unpack(signed(plain, keys.private).data, LIMIT)
    assert len(files[SIGNATURE]) == 64
    check_signature(files, keys.public)
    assert files == unpack(plain.data, LIMIT) and digest(files) == plain.digest


def test_without_keys_a_signature_matters_to_nobody(tmp_path: Path, keys: Keys) -> None:
    files = unpack(signed(bundle(tmp_path), keys.private).data, LIMIT) | {SIGNATURE: b"x"}
    check_signature(files, None)
    assert SIGNATURE not in files


def test_bundles_without_a_signature_or_with_a_wrong_one_are_refused(
    tmp_path: Path, keys: Keys
) -> None:
    plain, other = bundle(tmp_path), Keys(tmp_path, "other")
    assert "is not signed" in refused(unpack(plain.data, LIMIT), keys.public)
    foreign = unpack(signed(plain, other.private).data, LIMIT)
    assert "signed by none of the 1 keys" in refused(dict(foreign), keys.public)
    both = tmp_path / "both.pub"
    both.write_bytes(keys.public.read_bytes() + b"a comment\n" + other.public.read_bytes())
    check_signature(foreign, both)


@given(st.binary(max_size=70))
def test_no_other_bytes_are_a_signature(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    assert "none of the 1 keys" in refused({"a": b"b", SIGNATURE: text}, Keys(folder, "k").public)


def test_a_signature_is_of_one_content(tmp_path: Path, keys: Keys) -> None:
    files = unpack(signed(bundle(tmp_path), keys.private).data, LIMIT)
    for change in (
        {"graph.yaml": files["graph.yaml"] + b" "},
        {"more.py": b"import os"},
        {"anabranch.json": b'{"spec": "other.yaml"}'},
        {SIGNATURE: files[SIGNATURE][:-1]},
        {SIGNATURE: unpack(signed(bundle(tmp_path, "b"), keys.private).data, LIMIT)[SIGNATURE]},
    ):
        assert "none of the 1 keys" in refused({**files, **change}, keys.public)
    del files["graph.yaml"]
    assert "none of the 1 keys" in refused(files, keys.public)


def test_an_engine_takes_what_is_signed(tmp_path: Path, keys: Keys) -> None:
    env = {"ANABRANCH_HOME": str(tmp_path / "home"), "ANABRANCH_BUNDLE_KEYS": str(keys.public)}
    settings = Settings.from_env(env)
    settings.home.mkdir()
    releases, plain = Releases(settings), bundle(tmp_path)
    with pytest.raises(Forbidden, match=r"anabranch deploy --sign key\.pem"):
        releases.receive("shop", plain.data)
    assert not settings.bundles.exists()
    assert releases.receive("shop", signed(plain, keys.private).data).digest == plain.digest
    keys.public.write_bytes(Keys(tmp_path, "next").public.read_bytes())
    with pytest.raises(Forbidden, match="none of the 1 keys"):
        releases.receive("shop", signed(plain, keys.private).data)
    keys.public.unlink()
    with pytest.raises(Unavailable, match="ANABRANCH_BUNDLE_KEYS: cannot read"):
        releases.receive("shop", signed(plain, keys.private).data)


def test_keys_that_are_none(tmp_path: Path, keys: Keys) -> None:
    rsa = generate_private_key(65537, 2048)
    public = rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path = tmp_path / "keys"
    for text, why in (
        (b"", "no public key in PEM"),
        (keys.private.read_bytes(), "no public key in PEM"),
        (keys.public.read_bytes() + public, "another kind than Ed25519"),
    ):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=why):
            read_keys(path)
        with pytest.raises(EngineError, match=f"ANABRANCH_BUNDLE_KEYS.*{why}"):
            Settings.from_env({"ANABRANCH_BUNDLE_KEYS": str(path)})
    private = rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text, why in (
        (private, "genpkey -algorithm ed25519"),
        (keys.public.read_bytes(), "no private key"),
        (b"", "no private key"),
    ):
        path.write_bytes(text)
        with pytest.raises(InvalidRequest, match=why):
            signed(bundle(tmp_path), path)
    with pytest.raises(InvalidRequest, match="cannot read the key"):
        signed(bundle(tmp_path), tmp_path / "nothing")


def test_a_signature_is_no_file_of_the_folder(tmp_path: Path, keys: Keys) -> None:
    folder = bundle(tmp_path) and tmp_path / "bundle-shop"
    (folder / SIGNATURE).write_bytes(b"x")
    with pytest.raises(InvalidRequest, match=r"the folder has a file 'anabranch\.sig'"):
        signed(bundle(tmp_path), keys.private)
