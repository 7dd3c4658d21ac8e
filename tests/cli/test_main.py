"""Help, and failures, as every command has them."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from anabranch.cli.app import app
from anabranch.cli.commands.engine import _require_same
from anabranch.cli.options import duration
from anabranch.client.connection.engine_state import EngineInfo
from anabranch.errors import EngineError
from tests.engines import Engine


def below(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*words, name), command
        yield from below(command, (*words, name)) if hasattr(command, "commands") else ()


ALL = dict(below(get_command(app)))
GROUPS = {words: command for words, command in ALL.items() if hasattr(command, "commands")}
COMMANDS = {words: command for words, command in ALL.items() if words not in GROUPS}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_ends_with_an_example_that_the_command_takes(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = "examples/quickstart/graph.yaml"
    Path(example).parent.mkdir(parents=True)
    bundle = "quickstart-1.2.0.bundle"
    for name in ("graph.yaml", "policy.yaml", "before-upgrade.zip", "token", bundle, example):
        Path(name).write_text("")
    command = COMMANDS[words]
    *_, last = command.epilog.splitlines()
    head, *given = shlex.split(last.removeprefix("Example: "))
    assert (head, *given[: len(words)]) == ("anabranch", *words)
    command.make_context(words[-1], given[len(words) :])


@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_the_help_of_a_group_says_what_it_is_for(words: tuple[str, ...]) -> None:
    assert GROUPS[words].help and GROUPS[words].short_help


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_of_a_timeout_has_its_default(words: tuple[str, ...]) -> None:
    for option in COMMANDS[words].params:
        if option.name == "timeout":
            shown = re.search(r"default: (\w+)", option.help)
            assert option.default == (duration(shown[1]) if shown else math.inf)


@pytest.mark.parametrize("width", ["40", pytest.param("80", marks=pytest.mark.nightly)])
def test_no_help_is_cut(width: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    for words in ((), *COMMANDS):
        text = Engine(tmp_path / "home").command(*words, "--help").stdout
        assert "…" not in text
        cut = [line for line in text.splitlines() if line.endswith("...")]
        assert not [line for line in cut if not line.endswith(("]...", "}..."))], (
            text
        )  # as in `[FILE]...`


@pytest.mark.parametrize("asked", [("-o", "json"), ("--output", "json"), ("--output=json",)])
def test_a_failure_is_json_where_json_was_asked_for(tmp_path: Path, asked: tuple[str, ...]) -> None:
    done = Engine(tmp_path / "home").command("status", *asked)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no engine is running")
    assert json.loads(done.stdout) == {"error": done.stderr.strip().removeprefix("error: ")}


def test_wrong_usage_is_json_too_and_still_exits_with_2(tmp_path: Path) -> None:
    done = Engine(tmp_path / "home").command("infer", "shop", "-o", "json")
    assert done.returncode == 2
    assert "give either --data or at least one --input" in json.loads(done.stdout)["error"]
    assert "give either --data" in done.stderr


def test_a_wrong_choice_names_all_others_in_words_of_no_library(tmp_path: Path) -> None:
    done = Engine(tmp_path / "home").command("rollout", "shop", "hurry", "-o", "json")
    assert done.returncode == 2
    said = "'hurry' is not one of 'status', 'pause', 'resume', 'approve', 'promote', 'abort'"
    assert f": {said}" in json.loads(done.stdout)["error"]
    assert f": {said}" in done.stderr


def test_a_spec_with_mistakes_is_json_too(tmp_path: Path) -> None:
    spec = tmp_path / "graph.yaml"
    spec.write_text("kind: no")
    done = Engine(tmp_path / "home").command("plan", spec, "-o", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"].startswith("the spec has ")


def test_a_failure_is_no_json_where_none_was_asked_for(tmp_path: Path) -> None:
    assert Engine(tmp_path / "home").command("status").stdout == ""


INFO = EngineInfo(
    "http://127.0.0.1:8000", "127.0.0.1:9000", "", "http://127.0.0.1:8265", "", "/home"
)


def asked(*options: str) -> typer.Context:
    found: typer.Context = COMMANDS[("up",)].make_context("up", list(options))
    return found


@pytest.mark.parametrize(
    "options",
    [(), ("--http-port", "8000"), ("--http-port", "8000", "--grpc-port", "9000"),
     ("--dashboard-port", "8265")],
)  # fmt: skip
def test_an_engine_that_runs_has_the_ports_that_are_asked_for(options: tuple[str, ...]) -> None:
    _require_same(asked(*options), INFO, [])


def test_other_ports_than_those_of_an_engine_that_runs_are_an_error() -> None:
    context = asked("--http-port", "8080", "--grpc-port", "9000", "--dashboard-port", "1")
    message = (
        "the engine in /home runs already, with --http-port 8000, not 8080; --dashboard-port 8265, "
        "not 1: leave the option out, or stop the engine first with `anabranch down`"
    )
    with pytest.raises(EngineError) as raised:
        _require_same(context, INFO, [])
    assert str(raised.value) == message


def test_ports_by_default_say_nothing_of_an_engine_that_runs() -> None:
    other = EngineInfo("http://h:1", "h:2", "", "http://h:3", "", "/home")
    _require_same(asked(), other, [])
