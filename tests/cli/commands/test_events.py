"""``events``, and what the shell completes: both ask the control API."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import typer

from anabranch.cli import completion
from anabranch.cli.commands.events import (
    _events,
    actor_text,
    event_text,
    moment,
    verification_text,
)
from anabranch.client.client import ControlClient
from anabranch.control.observe.cloud_event import cloud_event
from anabranch.control.store.schema import events
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
        waiting = _events(client, None, {}, 1, follow=True)
        last = next(waiting)

        def later(seconds: float) -> None:
            asked.append(1)
            engine.text("deploy", engine.file(), "--force", "--message", "again")

        # Not `time.sleep` itself, by which the deploy waits too.
        monkeypatch.setattr("anabranch.cli.watch.time", SimpleNamespace(sleep=later))
        assert next(waiting)["id"] > last["id"]
    assert asked == [1]


ENGINE = {"kind": "engine", "name": "", "address": "", "request_id": ""}


def test_an_event_without_revision_or_message() -> None:
    event = {
        "at": 0, "graph": "g", "revision": None, "kind": "deleted", "message": "", "actor": ENGINE,
    }  # fmt: skip
    assert event_text(event).endswith("  g deleted")
    assert event_text(event | {"graph": ""}).endswith("  - deleted")


@pytest.mark.parametrize(
    ("actor", "text"),
    [
        (ENGINE, ""),
        (ENGINE | {"name": "mlflow"}, "by mlflow"),
        (ENGINE | {"kind": "unrecorded"}, ""),
        (ENGINE | {"kind": "token"}, "by token"),
        (
            ENGINE | {"kind": "key", "name": "ci", "address": "192.0.2.7"},
            "by key ci from 192.0.2.7",
        ),
    ],
)
def test_who_acted_is_told_unless_it_is_the_engine(actor: dict[str, str], text: str) -> None:
    assert actor_text(actor) == text


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (("digits", "--kind", "revision_*", "--revision", "r1"), ["revision_created"]),
        (("dig*", "--kind", "deploy_failed"), ["deploy_failed"]),
        (("--actor", "key:nobody"), []),
        (("--until", "1h"), []),
        (("--since", "1d", "--kind", "deploy_failed"), ["deploy_failed"]),
        (("--since", "1h", "--kind", "deploy_failed"), ["deploy_failed"]),
        (("--since", "2001-01-01", "--until", "2001-01-01T00:00:00Z"), []),
    ],
)
def test_options_choose_events(engine: Served, options: tuple[str, ...], kinds: list[str]) -> None:
    engine.text("deploy", engine.file())
    engine.store.log("digits", 2, "deploy_failed", "a reason")
    found = engine.text("events", *options, "-o", "json").splitlines()
    assert [json.loads(line)["kind"] for line in found] == kinds


@pytest.mark.parametrize("text", ["yesterday", "3", "2026-13-01"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="neither a duration such as 2h or 1d nor a time"):
        moment(text)


def test_a_group_of_commands_and_its_help(engine: Served) -> None:
    engine.text("deploy", engine.file())
    assert engine.text("events", "list", "digits") == engine.text("events", "digits")
    assert "verify" in engine.text("events", "--help")


def test_events_as_cloud_events(engine: Served) -> None:
    engine.text("deploy", engine.file())
    event, *_ = map(json.loads, engine.text("events", "-o", "json").splitlines())
    found, *_ = map(json.loads, engine.text("events", "-o", "cloudevents").splitlines())
    assert found == cloud_event(event)


def test_verifying_tells_the_newest_hash_and_fails_where_the_log_was_changed(
    engine: Served,
) -> None:
    assert engine.text("events", "verify").startswith("0 events verified")
    engine.text("deploy", engine.file())
    newest = engine.store.newest_events("digits", 1)[0]
    count = f"{newest.id} events verified, 1 to {newest.id}; the newest has the hash"
    assert engine.text("events", "verify").splitlines() == [count, newest.hash]
    assert engine.run("events", "verify", "--contains", newest.hash).exit_code == 0
    missed = engine.run("events", "verify", "--contains", "f" * 64)
    assert missed.exit_code == 1 and "does not have the hash that was given" in missed.stdout
    with engine.store.database.write(fenced=False) as connection:
        connection.execute(events.update().where(events.c.id == 2).values(message="other"))
    broken = engine.run("events", "verify")
    assert broken.exit_code == 1
    assert broken.stdout.splitlines()[0].startswith("1 event verified, 1 to 1;")
    assert "broken at event 2: it does not follow from event 1" in broken.stdout
    found = json.loads(engine.run("events", "verify", "-o", "json").stdout)
    assert (found["broken"], found["verified"], found["contains"]) == (2, 1, None)


def test_older_events_are_told_of() -> None:
    found = {
        "verified": 3, "first": 1, "last": 3, "hash": "ab", "unrecorded": 2, "broken": None,
        "reason": "", "contains": None,
    }  # fmt: skip
    assert (
        verification_text(found).splitlines()[-1].startswith("2 of them are older than the chain")
    )


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
