from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from anabranch.client.portable.formats import ImageManifest
from anabranch.client.portable.provenance import (
    Build,
    Commit,
    build_here,
    build_in,
    commit_of,
    statement,
)
from anabranch.errors import InvalidRequest
from tests.client.portable.test_sbom import MANIFEST

BUNDLE = ImageManifest.make("x/y", [])
OTHER = ImageManifest.make("x/z", [])


def git(folder: Path, *words: str) -> None:
    asked = ["git", "-c", "user.name=ada", "-c", "user.email=a@b", *words]
    subprocess.run(asked, cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    git(tmp_path, "remote", "add", "origin", "https://ada:secret@host/fruit.git")
    (tmp_path / "graph.yaml").write_text("x")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "one")
    return tmp_path


def test_a_commit_is_told_with_changes_since(repository: Path) -> None:
    found = commit_of(repository)
    assert (len(found.sha), found.is_dirty) == (40, False)
    assert found.remote == "https://host/fruit.git"
    (repository / "more").write_text("y")
    assert commit_of(repository).is_dirty
    assert "with changes since" in Build("ada", "now", commit_of(repository)).text


def test_a_folder_without_git_has_no_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == Commit()
    assert "of no commit" in build_here(tmp_path).text


def test_the_time_is_that_of_the_source_where_it_is_set(tmp_path: Path) -> None:
    found = build_here(tmp_path, {"SOURCE_DATE_EPOCH": "1700000000"})
    assert found.at == "2023-11-14T22:13:20Z"
    for wrong in ("soon", "9" * 40):
        with pytest.raises(InvalidRequest, match="is no Unix time"):
            build_here(tmp_path, {"SOURCE_DATE_EPOCH": wrong})


@pytest.mark.parametrize(
    "build", [Build("ada", "t"), Build("ö / %", "t", Commit("a" * 40, "git@host:x.git", True))]
)
def test_a_statement_tells_of_the_build(build: Build) -> None:
    found = json.loads(statement(BUNDLE, MANIFEST, build))
    told = build_in(found, BUNDLE)
    assert (told.author, told.at, told.commit.sha) == (build.author, build.at, build.commit.sha)
    assert told.commit.is_dirty is build.commit.is_dirty
    materials = found["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert sum("sha256" in one["digest"] for one in materials) == 2
    assert "secret" not in json.dumps(found)


def test_a_statement_is_of_one_bundle() -> None:
    found = json.loads(statement(BUNDLE, MANIFEST, Build("ada", "t")))
    with pytest.raises(InvalidRequest, match="that of another bundle"):
        build_in(found, OTHER)
    for wrong in ({}, [], {"subject": 7}, {"subject": [{"digest": None}]}):
        with pytest.raises(InvalidRequest, match="none that `anabranch build` writes"):
            build_in(wrong, BUNDLE)  # type: ignore[arg-type]
