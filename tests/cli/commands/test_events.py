"""``events``, and what the shell completes: both ask the control API."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import typer

from anabranch.cli import completion
from anabranch.cli.commands.events import _events, event_text
from anabranch.client.client import ControlClient
from tests.cli.conftest import Served


def test_events_are_printed_oldest_first_with_graph_and_revision(engine: Served) -> None:
    engine.text("deploy", engine.file())
    engine.text("deploy", engine.file(name="other"))
    lines = engine.text("events").splitlines()
    assert any("  digits r1 " in line for line in lines)
    own = engine.text("events", "digits").splitlines()
    assert own == [line for line in lines if "  digits" in line]
    assert engine.text("events", "digits", "--tail", "1").splitlines() == own[-1:]
    assert engine.text("events", "--tail", "0") == ""


def test_events_as_json_are_one_to_a_line(engine: Served) -> None:
    engine.text("deploy", engine.file())
    found = [json.loads(line) for line in engine.text("events", "-o", "json").splitlines()]
    assert {one["graph"] for one in found} == {"digits"}
    assert [one["id"] for one in found] == sorted(one["id"] for one in found)


def test_events_of_an_unknown_graph_are_an_error(engine: Served) -> None:
    done = engine.run("events", "nope")
    assert done.exit_code == 1 and "nope" in str(done.exception)


def test_following_goes_on_after_the_last_event(
    engine: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.text("deploy", engine.file())
    asked: list[int] = []
    with ControlClient.of_home(engine.home) as client:
        waiting = _events(client, None, 1, follow=True)
        last = next(waiting)

        def later(seconds: float) -> None:
            asked.append(1)
            engine.text("deploy", engine.file(), "--force", "--message", "again")

        # Not `time.sleep` itself, by which the deploy waits too.
        monkeypatch.setattr("anabranch.cli.watch.time", SimpleNamespace(sleep=later))
        assert next(waiting)["id"] > last["id"]
    assert asked == [1]


def test_an_event_without_revision_or_message() -> None:
    event = {"at": 0, "graph": "g", "revision": None, "kind": "deleted", "message": ""}
    assert event_text(event).endswith("  g deleted")


def context(engine: Served, graph: str = "digits") -> typer.Context:
    from typer.main import get_command

    from anabranch.cli.app import app

    found = typer.Context(get_command(app))
    found.params = {"home": engine.home, "graph": graph}
    return found


def test_the_shell_completes_graphs_revisions_and_nodes(engine: Served) -> None:
    for _ in range(2):
        engine.text("deploy", "--force", engine.file())
    at = context(engine)
    assert completion.graph_names(at, "dig") == ["digits"]
    assert completion.revisions(at, "") == ["r2", "r1"]
    assert completion.revisions(at, "r1") == ["r1"]
    assert sorted(completion.nodes(at, "")) == ["one", "two"]
    assert completion.nodes(at, "tw") == ["two"]
    assert completion.nodes(context(engine, "nope"), "") == []
