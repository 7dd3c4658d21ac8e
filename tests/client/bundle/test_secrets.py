"""Layouts of folders with secrets in them, and what a bundle of such a folder holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.bundle.packing import pack
from anabranch.client.bundle.unpacking import unpack, write_files
from anabranch.control.release.bundles import refuse_secrets
from anabranch.errors import InvalidRequest

LIMIT = 2**20
PEM = b"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SPEC = {"graph.yaml": b"kind: InferenceGraph"}
SECRETS = {
    ".env": b"TOKEN=1",
    "app/.env.production": b"TOKEN=1",
    "app/prod.ENV": b"TOKEN=1",
    "app/prod.env.local": b"TOKEN=1",
    "app/secret.yaml": b"kind: Secret\nstringData:\n  key: |\n    " + PEM,
    "app/values.yml": b"tls: {key: '" + PEM + b"'}",
    "certs/server.key": b"\x00",
    "certs/both.pem": CERTIFICATE + PEM,
    "certs/id_rsa": b"-",
    "certs/deploy": b"\n" + PEM,
    "certs/store.p12": b"-",
    ".netrc": b"machine x",
    "cloud/.aws/credentials": b"[default]",
    "cloud/.aws/config": b"[default]",
    "cloud/.config/gcloud/access_tokens.db": b"",
    "cloud/application_default_credentials.json": b"{}",
    "cloud/service-account-prod.json": b"{}",
    "cloud/robot.json": b'{"type": "service_account", "private_key": "' + PEM + b'"}',
}
PLAIN = {
    "certs/ca.pem": CERTIFICATE,
    "model.json": b'{"keys": ["-----BEGIN CERTIFICATE-----"]}',
    "environment.py": b"ENV = 1",
    "app/values.yaml": b"replicas: 2",
    "app/my-env.yml": b"a: 1",
    "tokenizer/token": b"[CLS]",
    "docs/keys.md": b"A key begins with\n" + PEM,
    "monkey.keys": b"",
}
HOMES = (
    {"ray-token": b"1"},
    {"token": b"1", "store.db": b"", "bundles/0.zip": b""},
    {"token": b"1", "engine.json": b"{}"},
)


def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    root = tmp_path / "project"
    write_files({**SPEC, **files}, root)
    return root


def packed(root: Path, home: Path | None = None) -> set[str]:
    return set(unpack(pack(root / "graph.yaml", LIMIT, home).data, LIMIT)) - {"anabranch.json"}


def left_out(root: Path) -> dict[str, str]:
    found = pack(root / "graph.yaml", LIMIT).left_out
    return {path: one.reason for path, one in found.items() if one.is_secret}


def test_secrets_stay_out_and_what_only_looks_like_them_stays_in(tmp_path: Path) -> None:
    root = folder(tmp_path, {**SECRETS, **PLAIN})
    assert packed(root) == {"graph.yaml", *PLAIN}


def test_what_is_left_out_as_secret_is_told_with_the_reason(tmp_path: Path) -> None:
    names = ("certs/server.key", "cloud/robot.json", "app/.env.production")
    assert left_out(folder(tmp_path, {name: SECRETS[name] for name in names})) == {
        "certs/server.key": "it is a private key",
        "cloud/robot.json": "it is a private key",
        "app/.env.production": "it is a file of settings with secrets",
    }


@pytest.mark.parametrize("name", SECRETS)
def test_a_link_to_a_secret_is_no_way_around(tmp_path: Path, name: str) -> None:
    root = folder(tmp_path, {name: SECRETS[name]})
    (root / "harmless.txt").symlink_to(root / name)
    (root / "twice.txt").symlink_to(root / "harmless.txt")
    assert packed(root) == {"graph.yaml"}
    assert {"harmless.txt", "twice.txt"} <= set(left_out(root))


@pytest.mark.parametrize("home", HOMES)
def test_the_home_of_an_engine_stays_out_wherever_it_lies(
    tmp_path: Path, home: dict[str, bytes]
) -> None:
    files = {f"work/state/{name}": content for name, content in home.items()}
    root = folder(tmp_path, {**files, "work/model.txt": b"m"})
    (root / "borrowed").symlink_to(root / "work/state" / next(iter(home)))
    (root / "alias").symlink_to(root / "work/state")
    assert packed(root) == {"graph.yaml", "work/model.txt"}
    assert left_out(root) == {
        "work/state": "it is the home of an engine, with its tokens",
        "borrowed": "it is a file in the home of an engine, with its tokens",
        "alias": "it is the home of an engine, with its tokens",
    }


def test_the_home_in_use_stays_out_before_it_holds_anything(tmp_path: Path) -> None:
    root = folder(tmp_path, {"home/logs/a.log": b"x", "b.txt": b"x"})
    assert packed(root, root / "home") == {"graph.yaml", "b.txt"}


def test_no_bundle_is_made_of_a_home_itself(tmp_path: Path) -> None:
    root = folder(tmp_path, {"ray-token": b"1"})
    with pytest.raises(InvalidRequest, match=r"is the home of an engine.*move the spec"):
        pack(root / "graph.yaml", LIMIT)


@pytest.mark.parametrize("name", SECRETS)
def test_a_bundle_with_a_secret_is_refused_as_well(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"in the bundle is a .*, which no bundle may hold"):
        refuse_secrets({**SPEC, name: SECRETS[name]})


@pytest.mark.parametrize("home", HOMES)
def test_a_bundle_with_a_home_is_refused_as_well(home: dict[str, bytes]) -> None:
    with pytest.raises(InvalidRequest, match="'a/home' in the bundle is the home of an engine"):
        refuse_secrets({**SPEC, **{f"a/home/{name}": content for name, content in home.items()}})


def test_plain_files_are_not_refused() -> None:
    refuse_secrets({**SPEC, **PLAIN})
