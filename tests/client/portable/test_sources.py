"""What users serve by its name: specs, and portable bundles with the signatures that count."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from anabranch.client.portable.building import build
from anabranch.client.portable.signing import sign
from anabranch.client.portable.sources import KEYS, bundle_of, opened
from anabranch.errors import Forbidden, InvalidRequest
from tests.router.standalone.graphs import spec, written


def built(folder: Path) -> Path:
    file = written(folder / "graph", spec())
    return build(file, folder / "demo.bundle", folder / "home").bundle.path


def test_the_spec_of_a_bundle_is_there_for_the_block(tmp_path: Path) -> None:
    with opened(str(built(tmp_path))) as (found, bundle):
        assert bundle is not None
        assert found.name == "graph.yaml"
        assert (found.parent / "parts.py").is_file()
    assert not found.exists()


def test_the_file_of_a_spec_is_taken_as_it_is(tmp_path: Path) -> None:
    file = written(tmp_path, spec())
    with opened(str(file)) as found:
        assert found == (file, None)
    assert bundle_of(str(file), tmp_path) is None


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    path = built(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidRequest, match=r"demo\.bundle"), opened(str(path)):
        pass


def test_a_signature_counts_where_one_is_demanded(tmp_path: Path) -> None:
    path, key = built(tmp_path), Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "keys.pem").write_bytes(public)
    env = {KEYS: str(tmp_path / "keys.pem")}
    with pytest.raises(Forbidden, match="no signature"):
        bundle_of(str(path), tmp_path, env)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    sign(path, tmp_path / "key.pem")
    assert bundle_of(str(path), tmp_path, env) is not None
