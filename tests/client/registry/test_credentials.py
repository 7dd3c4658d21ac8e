from __future__ import annotations

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from anabranch.client.registry.credentials import RegistryLogin, login_of
from anabranch.errors import InvalidRequest

HELPER = """#!/bin/sh
read host
case $host in
  helped) echo '{"Username": "ada", "Secret": "s"}' ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


def config(folder: Path, content: Any) -> dict[str, str]:
    (folder / "config.json").write_text(json.dumps(content))
    return {"DOCKER_CONFIG": str(folder)}


def test_a_login_in_the_file(tmp_path: Path) -> None:
    auth = b64encode("ada:p:w ä".encode()).decode()
    found = config(tmp_path, {"auths": {"host:5000": {"auth": auth}, "other": {}}})
    assert login_of("host:5000", found) == RegistryLogin("ada", "p:w ä")
    assert login_of("other", found) is None
    assert login_of("nowhere", found) is None


def test_without_a_file_there_is_no_login(tmp_path: Path) -> None:
    assert login_of("host", {"DOCKER_CONFIG": str(tmp_path)}) is None


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    helper = tmp_path / "docker-credential-mine"
    helper.write_text(HELPER)
    helper.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    hosts = {"helped": "mine", "unknown": "mine", "missing": "none"}
    found = config(tmp_path, {key: "mine" if key == "credsStore" else hosts})
    assert login_of("helped", found) == RegistryLogin("ada", "s")
    assert login_of("unknown", found) is None
    if key == "credHelpers":
        with pytest.raises(InvalidRequest, match="docker-credential-none"):
            login_of("missing", found)


@pytest.mark.parametrize("content", [7, {"auths": 7}, {"auths": {"host": {"auth": "ä"}}}])
def test_what_docker_does_not_write_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InvalidRequest, match="does not hold logins"):
        login_of("host", config(tmp_path, content))
