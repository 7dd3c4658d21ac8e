"""Manifests in files, folders and texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import SpecError
from anabranch.importers.manifests import MAX_FILES, folder_files, read_manifests
from anabranch.specs.loader import MAX_BYTES

ONE = "apiVersion: example/v1\nkind: One\nmetadata: {name: a, namespace: b}\n"


def kinds(text: str, are_all: bool = True) -> list[str]:
    return [one.kind for one in read_manifests([("f.yaml", text.encode())], are_all)]


def refused(text: str) -> str:
    with pytest.raises(SpecError) as error:
        kinds(text)
    return str(error.value)


def test_an_object_tells_its_group_and_names() -> None:
    (one,) = read_manifests([("f.yaml", ONE.encode())])
    assert (one.api_version, one.group, one.kind) == ("example/v1", "example", "One")
    assert (one.name, one.namespace) == ("a", "b")


def test_yaml_and_json_are_read_and_several_documents() -> None:
    assert kinds(f"---\n{ONE}---\n{ONE.replace('One', 'Two')}---\n") == ["One", "Two"]
    assert kinds(json.dumps({"apiVersion": "v1", "kind": "Three"})) == ["Three"]


@pytest.mark.parametrize("kind", ["List", "SeldonDeploymentList"])
def test_lists_are_taken_apart_with_their_positions(kind: str) -> None:
    text = f"apiVersion: v1\nkind: {kind}\nitems:\n- apiVersion: v1\n  kind: A\n  x: 1\n"
    (one,) = read_manifests([("f.yaml", text.encode())])
    assert (one.kind, one.path) == ("A", ("items", 0))
    assert str(one.problem(("x",), "is wrong")) == "f.yaml:6:3: items.0.x: is wrong"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "must be an object with `apiVersion` and `kind`, not a list"),
        ("kind: One", "needs a text `apiVersion`"),
        ("apiVersion: v1", "needs a text `kind`"),
        ("apiVersion: 1\nkind: One", "needs a text `apiVersion`"),
        ("a: [", "f.yaml"),
        ("a: 1\na: 2", "already used on line 1"),
        ("apiVersion: v1\nkind: List\nitems: [3]", "items.0: must be an object"),
        ("a: !!python/object:os.system x", "f.yaml:1"),
        ("x" * (MAX_BYTES + 1), "f.yaml"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, said: str) -> None:
    assert said in refused(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: b\nname: {{ .Values.name }}", 2),
        ("{{- if .Values.x }}\na: b\n{{- end }}", 1),
    ],
)
def test_templates_of_helm_are_refused_with_the_way_out(text: str, line: int) -> None:
    found = refused(text)
    assert found.startswith(f"f.yaml:{line}:")
    assert "such as what `helm template` prints" in found


@pytest.mark.parametrize("text", ['a: "{{ x }}"', "a: b # {{ x }}", "# {{ x }}\na: b"])
def test_braces_in_quotes_and_comments_are_no_template(text: str) -> None:
    assert kinds(f"{ONE}{text}\n") == ["One"]


def test_a_folder_has_other_files_too(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.json").write_text(json.dumps({"apiVersion": "v1", "kind": "B"}))
    (tmp_path / "a.yaml").write_text("replicas: 3\n")
    (tmp_path / "c.yml").write_text(ONE)
    (tmp_path / "d.txt").write_text(ONE)
    files = folder_files(tmp_path)
    assert [Path(name).name for name, _ in files] == ["a.yaml", "b.json", "c.yml"]
    assert [one.kind for one in read_manifests(files, are_all=False)] == ["", "B", "One"]


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.yaml").touch()
    with pytest.raises(SpecError, match=f"the limit is {MAX_FILES}"):
        folder_files(tmp_path)


@given(st.text(max_size=40), st.booleans())
def test_any_text_is_read_or_refused(text: str, are_all: bool) -> None:
    try:
        read_manifests([("f", text.encode("utf-8", "replace"))], are_all)
    except SpecError as error:
        assert error.problems
