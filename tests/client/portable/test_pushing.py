"""Portable bundles in registries: a real one, and one that asks who is there."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from anabranch.client.portable.bundle import PortableBundle, open_bundle
from anabranch.client.portable.pushing import pull, push
from anabranch.client.portable.signing import sign, verified
from anabranch.client.registry.references import INDEX_TYPE, ImageReference
from anabranch.client.registry.registry import RegistryClient
from anabranch.errors import Forbidden, InvalidRequest, NotFound, Unavailable
from tests.client.portable.test_signing import built
from tests.disks import names
from tests.registries import PASSWORD, USER, SmallRegistry, real_registry, small_registry
from tests.release_keys import Keys


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallRegistry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with small_registry() as found:
        yield found


def log_in(host: str, folder: Path) -> None:
    auth = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def pushed(path: Path, text: str) -> ImageReference:
    to = ImageReference.parse(text)
    with RegistryClient(to) as registry:
        return push(open_bundle(path), to, registry, lambda text: None)


def pulled(text: str, target: Path) -> PortableBundle:
    of = ImageReference.parse(text)
    with RegistryClient(of) as registry:
        return pull(of, registry, target, lambda text: None)


def test_a_real_registry_gives_back_the_same_bytes(tmp_path: Path) -> None:
    path, keys = built(tmp_path), [Keys(tmp_path, name) for name in ("one", "two")]
    sign(path, keys[0].private)
    with real_registry(tmp_path) as host:
        fixed = pushed(path, f"oci://{host}/models/fruit")
        assert (fixed.tag, fixed.digest) == ("1.2.0", open_bundle(path).digest)
        for wanted in (f"oci://{host}/models/fruit:1.2.0", str(fixed)):
            assert pulled(wanted, tmp_path / "back.bundle").path.read_bytes() == path.read_bytes()
        sign(path, keys[1].private)
        assert pushed(path, f"oci://{host}/models/fruit") == fixed
        back = pulled(str(fixed), tmp_path / "back.bundle")
        assert [len(verified(back, one.public)) for one in keys] == [1, 1]
        with pytest.raises(NotFound, match=r"models/fruit manifests/2\.0.*404"):
            pulled(f"oci://{host}/models/fruit:2.0", tmp_path / "none.bundle")


def test_what_the_registry_has_is_not_sent_again(tmp_path: Path, small: SmallRegistry) -> None:
    path = built(tmp_path)
    pushed(path, f"oci://{small.host}/models/fruit:a")
    uploads = small.uploads
    pushed(path, f"oci://{small.host}/models/fruit:b")
    assert small.uploads == uploads > 0
    assert {"a", "b"} < set(small.manifests)
    assert not any(name.startswith("sha256-") for name in small.manifests)


@pytest.mark.parametrize("asks", ["basic", "bearer"])
def test_logins_are_those_of_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    asks: str) -> None:  # fmt: skip
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    path = built(tmp_path)
    with small_registry(asks) as registry:
        with pytest.raises(Forbidden, match=r"asks for a login|gives no token"):
            pushed(path, f"oci://{registry.host}/models/fruit")
        log_in(registry.host, tmp_path / "docker")
        fixed = pushed(path, f"oci://{registry.host}/models/fruit")
        assert pulled(str(fixed), tmp_path / "back.bundle").digest == fixed.digest
        if asks == "bearer":
            assert "repository:models/fruit:pull,push" in registry.scopes


def test_a_changed_blob_or_manifest_is_refused(tmp_path: Path, small: SmallRegistry) -> None:
    fixed = pushed(built(tmp_path), f"oci://{small.host}/models/fruit")
    for digest, content in dict(small.blobs).items():
        for changed in (b"?" + content[1:], content + b"?", content[:-1]):
            small.blobs[digest] = changed
            with pytest.raises(InvalidRequest, match="were announced"):
                pulled(str(fixed), tmp_path / "back.bundle")
        small.blobs[digest] = content
    small.manifests[fixed.digest] += b" "
    with pytest.raises(InvalidRequest, match="came with the digest"):
        pulled(str(fixed), tmp_path / "back.bundle")
    assert "back.bundle" not in names(tmp_path)


def test_another_image_is_refused(tmp_path: Path, small: SmallRegistry) -> None:
    image = {"config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2,
                        "digest": f"sha256:{'0' * 64}"}, "layers": []}  # fmt: skip
    small.manifests["latest"] = json.dumps(image).encode()
    with pytest.raises(InvalidRequest, match="and no portable bundle"):
        pulled(f"oci://{small.host}/models/fruit", tmp_path / "x.bundle")
    small.manifests["latest"] = b"<html>"
    with pytest.raises(InvalidRequest, match="no manifest of an OCI image"):
        pulled(f"oci://{small.host}/models/fruit", tmp_path / "x.bundle")


@pytest.mark.parametrize(
    ("status", "kind"), [(500, Unavailable), (403, Forbidden), (400, InvalidRequest)]
)
def test_a_registry_that_refuses_is_quoted(
    tmp_path: Path, small: SmallRegistry, status: int, kind: type[Exception]
) -> None:
    small.status["POST"] = status
    with pytest.raises(kind, match=rf"{status} \(X: as told\)"):
        pushed(built(tmp_path), f"oci://{small.host}/models/fruit")


def test_a_registry_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 does not answer"):
        pulled("oci://127.0.0.1:9/models/fruit", tmp_path / "x.bundle")


def test_a_digest_is_no_place_to_push_to(tmp_path: Path, small: SmallRegistry) -> None:
    with pytest.raises(InvalidRequest, match="name a tag"):
        pushed(built(tmp_path), f"oci://{small.host}/models/fruit@sha256:{'0' * 64}")


def test_what_others_attach_to_a_bundle_stays_where_it_is(
    tmp_path: Path, small: SmallRegistry
) -> None:
    path = built(tmp_path)
    sign(path, Keys(tmp_path, "one").private)
    index = {"mediaType": INDEX_TYPE, "artifactType": "application/vnd.other", "manifests": []}
    subject = {"digest": open_bundle(path).digest}
    for number in range(200):  # more than are looked at, and before ours
        content = json.dumps({**index, "subject": subject, "annotations": {"n": str(number)}})
        small.manifests[f"sha256:{sha256(content.encode()).hexdigest()}"] = content.encode()
    fixed = pushed(path, f"oci://{small.host}/models/fruit")
    assert pulled(str(fixed), tmp_path / "back.bundle").path.read_bytes() == path.read_bytes()


def test_a_token_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with small_registry("bearer") as found:
        log_in(found.host, tmp_path / "docker")
        found.token = "none"
        with pytest.raises(Unavailable, match="a request for a token with none"):
            pulled(f"oci://{found.host}/models/fruit", tmp_path / "x.bundle")
