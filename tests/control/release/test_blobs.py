"""Models that bundles have brought along, as an engine receives them."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.artefacts.bundled import MANIFEST, BundledArtefact
from anabranch.control.release.blobs import BlobStore
from anabranch.control.release.bundles import BundleStore, pinned
from anabranch.errors import InvalidRequest, NotFound, TooLarge
from tests.disks import names

MODEL = os.urandom(1000)
DIGEST = sha256(MODEL).hexdigest()
MOST = 2**20


@given(cuts=st.lists(st.integers(0, len(MODEL)), max_size=6))
def test_a_model_comes_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    store = BlobStore(tmp_path_factory.mktemp("home") / "bundles")
    ends = [*sorted({*cuts, len(MODEL)} - {0})]
    start = 0
    for end in ends:
        assert store.received(DIGEST) == (start, False)
        taken = store.receive(DIGEST, len(MODEL), start, MODEL[start:end], MOST)
        assert taken == (end, end == len(MODEL))
        start = end
    assert store.received(DIGEST) == (len(MODEL), True)
    assert store.path(DIGEST).read_bytes() == MODEL
    assert store.receive(DIGEST, len(MODEL), 0, MODEL, MOST) == (len(MODEL), True)


def test_a_transfer_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    BlobStore(tmp_path).receive(DIGEST, len(MODEL), 0, MODEL[:300], MOST)
    again = BlobStore(tmp_path)
    assert again.receive(DIGEST, len(MODEL), 0, MODEL[:300], MOST) == (300, False)
    assert again.receive(DIGEST, len(MODEL), 700, MODEL[700:], MOST) == (300, False)
    assert again.receive(DIGEST, len(MODEL), 300, MODEL[300:], MOST) == (1000, True)
    assert again.path(DIGEST).read_bytes() == MODEL


def test_an_empty_model_is_one(tmp_path: Path) -> None:
    empty = sha256(b"").hexdigest()
    assert BlobStore(tmp_path / "bundles").receive(empty, 0, 0, b"", MOST) == (0, True)


def test_another_content_is_dropped(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    with pytest.raises(InvalidRequest, match=f"not {DIGEST}; it was dropped"):
        store.receive(DIGEST, 5, 0, b"other", MOST)
    assert store.received(DIGEST) == (0, False)
    assert names(tmp_path) == []


def test_what_is_too_large_or_no_digest_is_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    with pytest.raises(TooLarge, match="ANABRANCH_MAX_ARTEFACT"):
        store.receive(DIGEST, MOST + 1, 0, b"", MOST)
    with pytest.raises(InvalidRequest, match="not a SHA-256"):
        store.received("../../etc/passwd")
    assert store.receive(DIGEST, 3, 0, MODEL, MOST) == (0, False)


def test_a_bundle_is_refused_whose_models_are_not_here(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    one = BundledArtefact("m.onnx", DIGEST, len(MODEL))
    with pytest.raises(InvalidRequest, match=rf"pins the model 's3://m/m' by sha256 {DIGEST}"):
        store.require({"s3://m/m": one})
    store.receive(DIGEST, len(MODEL), 0, MODEL, MOST)
    os.utime(store.path(DIGEST), (1, 1))
    store.require({"s3://m/m": one})
    assert store.collect((), before=1000.0) == []


def test_a_malformed_pin_is_refused() -> None:
    for fields in ({}, {"name": "../m", "sha256": DIGEST, "size": 1}, {"name": "m"}, 7):
        manifest = json.dumps({"spec": "graph.yaml", "artefacts": {"s3://m/m": fields}})
        with pytest.raises(InvalidRequest, match="does not pin artefacts as it must"):
            pinned({MANIFEST: manifest.encode()})


def test_models_stay_as_long_as_a_bundle_pins_them(tmp_path: Path) -> None:
    bundles = BundleStore(tmp_path)
    pins = {"s3://m/m": BundledArtefact("m.onnx", DIGEST, len(MODEL)).to_json()}
    manifest = {"spec": "graph.yaml", "artefacts": pins}
    name = bundles.put({MANIFEST: json.dumps(manifest).encode(), "graph.yaml": b"x"})
    plain = bundles.put({MANIFEST: b'{"spec": "graph.yaml"}', "graph.yaml": b"x"})
    bundles.blobs.receive(DIGEST, len(MODEL), 0, MODEL, MOST)
    os.utime(bundles.blobs.path(DIGEST), (1, 1))
    assert bundles.pinned([name, plain, "f" * 64]) == {DIGEST}
    assert bundles.blobs.collect(bundles.pinned([name]), before=1000.0) == []
    assert bundles.blobs.collect(bundles.pinned([plain]), before=1000.0) == [DIGEST]
    with pytest.raises(NotFound, match="the model"):
        bundles.blobs.path(DIGEST)


def test_a_store_of_the_users_has_models_too(tmp_path: Path) -> None:
    url = (tmp_path / "store").as_uri()
    BlobStore(tmp_path / "a", url).receive(DIGEST, len(MODEL), 0, MODEL, MOST)
    other = BlobStore(tmp_path / "b", url)
    assert other.received(DIGEST) == (len(MODEL), True)
    assert other.path(DIGEST).read_bytes() == MODEL
    other.path(DIGEST).unlink()
    other.collect((), before=0.0)
    with pytest.raises(NotFound):
        other.path(DIGEST)
