from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest

from anabranch.client.bundle.keys import key_id, read_keys
from anabranch.client.bundle.signing import signatures_of, with_signatures
from anabranch.client.bundle.unpacking import unpack
from anabranch.client.portable.bundle import open_bundle
from anabranch.client.portable.formats import (
    CODE_SIGNATURE_TYPE,
    ENVELOPE_TYPE,
    PROVENANCE_TYPE,
    SIGNATURE_TYPE,
    canonical,
)
from anabranch.client.portable.making import BundleDraft
from anabranch.client.portable.provenance import Build, statement
from anabranch.client.portable.signing import code_signatures, sign, signature_count, verified
from anabranch.control.release.signatures import check_signature
from anabranch.errors import Forbidden, InvalidRequest
from tests.client.portable.bundles import drafted
from tests.release_keys import Keys

LIMIT = 2**20


def built(folder: Path, author: str = "ada", files: dict[str, bytes] | None = None) -> Path:
    """A bundle with its provenance, as ``build`` makes it."""
    draft, path = drafted(folder / "parts", files), folder / "fruit.bundle"
    draft.write(path)
    provenance = statement(draft.bundle, open_bundle(path).manifest, Build(author, "today"))
    draft.with_referrer(PROVENANCE_TYPE, [(PROVENANCE_TYPE, provenance)]).write(path)
    return path


def without_signatures(draft: BundleDraft) -> BundleDraft:
    left = [one for one in draft.referrers if one.artifact_type == PROVENANCE_TYPE]
    return BundleDraft(draft.bundle, draft.blobs, left)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path, "ours")


def test_a_signature_tells_who_has_built_what(tmp_path: Path, keys: Keys) -> None:
    path = built(tmp_path)
    digest = open_bundle(path).digest
    bundle = sign(path, keys.private)
    assert bundle.digest == digest
    (one,) = verified(bundle, keys.public)
    assert (one.build.author, one.build.at) == ("ada", "today")
    assert one.key == key_id(read_keys(keys.public)[0])


def test_a_key_signs_once_and_others_beside_it(tmp_path: Path, keys: Keys) -> None:
    path, other = built(tmp_path), Keys(tmp_path, "other")
    for _ in range(2):
        bundle = sign(path, keys.private)
    assert signature_count(bundle) == 1
    bundle = sign(path, other.private)
    assert len(verified(bundle, keys.public)) == len(verified(bundle, other.public)) == 1


def test_engines_take_it_as_one_that_deploy_has_signed(tmp_path: Path, keys: Keys) -> None:
    path, other = built(tmp_path), Keys(tmp_path, "other")
    sign(path, other.private)
    bundle = sign(path, keys.private)
    sent = with_signatures(bundle.code, code_signatures(bundle))
    assert len(signatures_of(sent)) == 2
    for public in (keys.public, other.public):
        check_signature(unpack(sent.data, LIMIT), public)
    with pytest.raises(Forbidden, match="none of the 1 keys"):
        check_signature(unpack(sent.data, LIMIT), Keys(tmp_path, "third").public)


def test_without_a_signature_by_a_trusted_key_it_is_refused(tmp_path: Path, keys: Keys) -> None:
    path, other = built(tmp_path), Keys(tmp_path, "other")
    with pytest.raises(Forbidden, match="has no signature, and so none by a key in"):
        verified(open_bundle(path), keys.public)
    with pytest.raises(Forbidden, match="of the 1 signatures of"):
        verified(sign(path, other.private), keys.public)
    with pytest.raises(InvalidRequest, match="no public key in PEM"):
        verified(open_bundle(path), keys.private)
    with pytest.raises(InvalidRequest, match="no private key in PEM"):
        sign(path, keys.public)


def test_a_signature_of_another_bundle_is_none(tmp_path: Path, keys: Keys) -> None:
    """Neither as a whole, nor its signed provenance with the right signature of the code."""
    (tmp_path / "other").mkdir()
    mine = BundleDraft.of(sign(built(tmp_path), keys.private))
    other = BundleDraft.of(sign(built(tmp_path / "other", files={"a.py": b""}), keys.private))
    (one,) = [each for each in mine.referrers if each.artifact_type == SIGNATURE_TYPE]
    (two,) = [each for each in other.referrers if each.artifact_type == SIGNATURE_TYPE]
    code = (CODE_SIGNATURE_TYPE, mine.content(one.layers[0]))
    envelope = (ENVELOPE_TYPE, other.content(two.layers[1]))
    unsigned = without_signatures(mine)
    forged = tmp_path / "forged.bundle"
    unsigned.with_referrer(SIGNATURE_TYPE, [code, envelope]).write(forged)
    with pytest.raises(InvalidRequest, match="that of another bundle"):
        verified(open_bundle(forged), keys.public)
    wrong_code = (CODE_SIGNATURE_TYPE, other.content(two.layers[0]))
    right = (ENVELOPE_TYPE, mine.content(one.layers[1]))
    unsigned.with_referrer(SIGNATURE_TYPE, [wrong_code, right]).write(forged)
    with pytest.raises(Forbidden):
        verified(open_bundle(forged), keys.public)


def test_a_changed_provenance_is_not_believed(tmp_path: Path, keys: Keys) -> None:
    mine = BundleDraft.of(sign(built(tmp_path), keys.private))
    (one,) = [each for each in mine.referrers if each.artifact_type == SIGNATURE_TYPE]
    envelope = json.loads(mine.content(one.layers[1]))
    changed = statement(mine.bundle, open_bundle(tmp_path / "fruit.bundle").manifest,
                        Build("eve", "today"))  # fmt: skip
    for payload in (b64encode(changed).decode(), "no base64", 7):
        layers = [
            (CODE_SIGNATURE_TYPE, mine.content(one.layers[0])),
            (ENVELOPE_TYPE, canonical({**envelope, "payload": payload})),
        ]
        unsigned = without_signatures(mine)
        unsigned.with_referrer(SIGNATURE_TYPE, layers).write(tmp_path / "x.bundle")
        with pytest.raises(Forbidden):
            verified(open_bundle(tmp_path / "x.bundle"), keys.public)


def test_a_bundle_that_nobody_has_built_is_not_signed(tmp_path: Path, keys: Keys) -> None:
    drafted(tmp_path / "parts").write(tmp_path / "x.bundle")
    with pytest.raises(InvalidRequest, match="has no provenance"):
        sign(tmp_path / "x.bundle", keys.private)
