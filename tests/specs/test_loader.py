"""The safe loader: data, positions, limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from anabranch.errors import Position, SpecError
from anabranch.specs import loader
from anabranch.specs.loader import MAX_ALIASES, MAX_BYTES, MAX_DEPTH, MAX_NODES, parse, read
from tests.strategies import json_values


@pytest.fixture(params=["C", "Python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test here with both parsers."""
    if request.param == "Python":
        monkeypatch.setattr(loader, "_PARSER", yaml.SafeLoader)


def refusal(data: bytes | str) -> str:
    with pytest.raises(SpecError) as caught:
        parse(data, "f")
    return str(caught.value)


def test_reads_maps_lists_and_scalars() -> None:
    document = parse("a: [1, '1', x: y]\nb:\n- {c: null}\n- |\n  text\nd: 010\n")
    assert document.data == {"a": [1, "1", {"x": "y"}], "b": [{"c": None}, "text\n"], "d": "010"}
    assert document.problems == ()


def test_quoted_scalars_are_text() -> None:
    assert parse("""["1", '2', "true", 'null', ""]""").data == ["1", "2", "true", "null", ""]


def test_positions_count_characters_from_1() -> None:
    document = parse("a: 1\nköder:\n  - {b: 1, 'c d': [x,\n  y]}\n")
    assert document.position(()) == Position(1, 1)
    assert document.position(("a",)) == Position(1, 1)
    assert document.position(("köder",)) == Position(2, 1)
    assert document.position(("köder", 0)) == Position(3, 5)
    assert document.position(("köder", 0, "c d")) == Position(3, 12)
    assert document.position(("köder", 0, "c d", 1)) == Position(4, 3)


def test_what_does_not_exist_stands_where_its_ancestor_does() -> None:
    document = parse("a:\n  b: 1\n")
    assert document.position(("a", "b", "c", 0)) == Position(2, 3)
    assert document.position(("a", "x")) == Position(1, 1)
    assert document.position(("z",)) == Position(1, 1)
    assert document.position(("a", 0)) == Position(1, 1)


def test_a_byte_order_mark_shifts_nothing() -> None:
    assert parse(b"\xef\xbb\xbfa: 1").position(("a",)) == Position(1, 1)
    assert parse("\ufeffa: 1").data == {"a": 1}


def test_line_ends_of_every_system() -> None:
    document = parse("a: 1\r\nb: 2\r\n")
    assert document.data == {"a": 1, "b": 2}
    assert document.position(("b",)) == Position(2, 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_values)
def test_reads_json_as_python_writes_it(value: object) -> None:
    assert parse(json.dumps({"a": value})).data == {"a": value}


def test_an_escaped_backslash_starts_no_escape() -> None:
    data = {"a😀": "\\ud83d\\ude00", "b": "\\😀"}
    assert parse(json.dumps(data, indent=2)).data == data


def test_an_empty_file_is_nothing() -> None:
    assert parse("").data is None
    assert parse(b"# only a comment\n").data is None


def test_aliases_stand_for_what_they_name() -> None:
    document = parse("a: &x {b: 1}\nc: [*x, &y z, *y]\n")
    assert document.data == {"a": {"b": 1}, "c": [{"b": 1}, "z", "z"]}
    assert document.position(("c", 0)) == Position(2, 5)
    assert document.position(("c", 0, "b")) == Position(1, 8)


def test_merge_keys_are_keys_like_any_other() -> None:
    assert parse("a: &x {b: 1}\nc: {<<: *x}\n").data == {"a": {"b": 1}, "c": {"<<": {"b": 1}}}


def test_a_repeated_key_keeps_its_first_value_and_is_reported() -> None:
    document = parse("a: 1\nb: {c: 1, d: 2,\n  c: {x: [3]}}\na: 2\n")
    assert document.data == {"a": 1, "b": {"c": 1, "d": 2}}
    assert [str(problem) for problem in document.problems] == [
        "<spec>:3:3: b.c: this key is already used on line 2",
        "<spec>:4:1: a: this key is already used on line 1",
    ]
    assert document.position(("a",)) == Position(1, 1)


def test_equal_keys_of_another_kind_are_repeated_too() -> None:
    (first, second) = parse("'1': a\n1: b\n").problems
    assert "quote this one: '1'" in first.message
    assert "already used on line 1" in second.message


@pytest.mark.parametrize("key", ["1", "1.5", "true", "null", "~", ".inf", "0x1F"])
def test_keys_are_text(key: str) -> None:
    document = parse(f"a: {{{key}: 1}}\n")
    assert document.data == {"a": {key: 1}}
    assert [p.message for p in document.problems] == [f"keys are text; quote this one: '{key}'"]


@pytest.mark.parametrize(
    "text",
    ["a: !!str 1", "a: !x 1", "a: ! 1", "a: !!python/object:os.system {}", "a: !<tag:x> [1]"],
)
def test_tags_are_reported(text: str) -> None:
    (problem,) = parse(text).problems
    assert problem.message.startswith("the tag `")
    assert problem.position == Position(1, 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a: [1\nb: 2", "f:2:"),
        ("a: b: c", "f:1:5: not valid YAML: mapping values are not allowed"),
        ("a:\n\tb: 1", "f:2:1: not valid YAML: a tab cannot indent; use spaces"),
        ("a: @b", "f:1:4: not valid YAML: a value that starts with @ needs quotes"),
        ("a: 1\n---\nb: 2", "f:2:1: a second document starts here; a file holds one graph"),
        ("a: 1\n---\n", "f:2:1: a second document starts here"),
        ("? [a]\n: b", "f:1:3: a map or list cannot be a key"),
        ("{{a: b}: c}", "f:1:2: a map or list cannot be a key"),
        ("a: &x b\n*x : c", "f:2:1: an alias cannot be a key"),
        ("a: *x", "f:1:4: a: the alias `*x` has no anchor before it"),
        ("a: &x [*x]", "f:1:8: a.0: the alias `*x` refers to a value that contains it"),
        ('a: "\\0"', "f:1:4: a: NUL and lone surrogates are not allowed, not even escaped"),
        ("a: " + "9" * 100, "has 100 digits; at most 64 are allowed"),
        (b"a: b\nc: \xe9\n", "f:2:4: not UTF-8: the byte 0xE9 is out of place"),
        ("a: 1".encode("utf-16"), "f:1:1: not UTF-8 but UTF-16 or UTF-32; save it as UTF-8"),
        ("a: 1".encode("utf-16-be"), "f:1:1: the character U+0000 is not allowed"),
        ("a: 1\nb: \x00", "f:2:4: the character U+0000 is not allowed"),
        ("a: \x1b[31m", "f:1:4: the character U+001B is not allowed"),
        ("a: \ud800", "f:1:4: the character U+D800 is not allowed"),
        ("%TAG ! tag:x,2000:\n" * 9, "f:9:1: more than 8 lines that start with %"),
    ],
)
def test_refuses(data: bytes | str, message: str) -> None:
    assert message in refusal(data)


def test_mistakes_before_the_end_of_reading_are_kept() -> None:
    lines = refusal("a: 1\na: 2\nb: [").splitlines()
    assert lines[0] == "f:2:1: a: this key is already used on line 1"
    assert lines[1].startswith("f:3:5: not valid YAML") or lines[1].startswith("f:4:1: not valid")


def test_depth() -> None:
    def nested(levels: int) -> str:
        return "[" * levels + "]" * levels

    assert parse(nested(MAX_DEPTH)).data is not None
    assert f"nested deeper than the limit of {MAX_DEPTH} levels" in refusal(nested(MAX_DEPTH + 1))


def test_aliases_cannot_deepen() -> None:
    half = "[" * (MAX_DEPTH // 2) + "]" * (MAX_DEPTH // 2)
    assert "nested deeper" in refusal(
        f"a: &x {half}\nb: {half[: MAX_DEPTH // 2]}*x{half[MAX_DEPTH // 2 :]}"
    )
    assert parse(f"a: &x {half}\nb: [[*x]]").data is not None


def test_number_of_aliases() -> None:
    assert parse("a: &x 1\nb: [" + "*x, " * MAX_ALIASES + "]").data is not None
    assert f"more than {MAX_ALIASES} aliases" in refusal("a: &x 1\nb: [" + "*x, " * 101 + "]")


def test_size_with_aliases_expanded() -> None:
    wide = "a: &x [" + "1, " * 2_000 + "]\nb: [" + "*x, " * 60 + "]"
    assert f"more than the limit of {MAX_NODES} keys and values" in refusal(wide)
    long = f"a: &x '{'q' * 20_000}'\nb: [" + "*x, " * 60 + "]"
    assert f"with aliases expanded, more than {MAX_BYTES} characters" in refusal(long)


def test_bytes() -> None:
    assert parse(b"#" * MAX_BYTES).data is None
    assert refusal(b"#" * (MAX_BYTES + 1)) == f"f: larger than the limit of {MAX_BYTES} bytes"
    assert "larger than" in refusal("é" * (MAX_BYTES // 2 + 1))


def test_reads_files(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_bytes(b"a: 1")
    assert read(path).data == {"a": 1}
    assert read(path).file == str(path)


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match="cannot be read: "):
        read(tmp_path / name)


def test_messages_never_hold_raw_control_characters() -> None:
    document = parse('"a\\e[31m\\nb": !x 1\n')
    assert str(document.problems[0]).isprintable()
    problem = document.problem(("x" * 5000, "\x1b"), "wrong")
    assert len(str(problem)) < 200
    assert str(problem).isprintable()
