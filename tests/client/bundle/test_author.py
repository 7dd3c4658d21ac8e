"""Who a revision is by, where the command line does not say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from anabranch.client.bundle.author import author_of


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("LOGNAME", "ada")


def test_the_name_in_git_comes_first(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=60)
    subprocess.run(
        ["git", "config", "user.name", "Ada Lovelace"], cwd=tmp_path, check=True, timeout=60
    )
    assert author_of(tmp_path) == "Ada Lovelace"


def test_a_name_that_is_no_text_is_no_failure(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=60)
    with (tmp_path / ".git" / "config").open("ab") as config:
        config.write(b"[user]\n\tname = J\xf6rg\n")
    assert author_of(tmp_path) == "J\N{REPLACEMENT CHARACTER}rg"


def test_the_user_comes_next(tmp_path: Path) -> None:
    assert author_of(tmp_path) == "ada"


def test_a_machine_without_git_has_users_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert author_of(tmp_path) == "ada"
