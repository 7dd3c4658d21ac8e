"""``anabranch keys`` against the real control API."""

from __future__ import annotations

import re

import pytest

from anabranch.errors import Conflict, EngineError, InvalidRequest
from tests.cli.conftest import Served


def test_a_key_is_printed_once_and_alone_on_stdout(engine: Served) -> None:
    done = engine.run("keys", "create", "ci", "--role", "invoker", "--graph", "team-a-*")
    assert re.fullmatch(r"ab_[\w-]{43}\n", done.stdout)
    said = "key 'ci': invoker on team-a-*, without an end; it is not shown again\n"
    assert done.stderr == said
    listed = engine.text("keys")
    assert re.search(r"^ci +invoker on team-a-\* +never +\d{4}-", listed, re.MULTILINE)
    assert done.stdout.strip() not in listed


def test_keys_as_json(engine: Served) -> None:
    made = engine.json(
        "keys", "create", "ci", "--role", "invoker", "--role", "feedback", "--expires", "90d"
    )
    assert made["key"].startswith("ab_")
    assert made["expires_at"] - made["created_at"] == 90 * 86_400
    assert [(one["role"], one["graphs"]) for one in made["roles"]] == [
        ("invoker", "*"),
        ("feedback", "*"),
    ]
    (listed,) = engine.json("keys")
    assert listed == {name: value for name, value in made.items() if name != "key"}


def test_a_rotation_prints_another_key(engine: Served) -> None:
    old = engine.text("keys", "create", "ci", "--role", "invoker")
    new = engine.text("keys", "rotate", "ci", "--overlap", "12h")
    assert old != new
    first, second = engine.json("keys")
    assert first["expires_at"] == pytest.approx(second["created_at"] + 12 * 3600)
    assert second["expires_at"] is None


def test_a_revocation_asks_first(engine: Served) -> None:
    engine.text("keys", "create", "ci", "--role", "invoker")
    done = engine.run("keys", "revoke", "ci")
    assert done.exit_code == 2 and "there is no terminal to ask on; --yes" in done.stderr
    assert engine.text("keys", "revoke", "ci", "--yes") == "key 'ci' is revoked\n"
    assert engine.json("keys") == []


def test_mistakes_are_named(engine: Served) -> None:
    engine.text("keys", "create", "ci", "--role", "invoker")
    for words, error, said in [
        (("revoke", "c1", "--yes"), EngineError, "there is no key 'c1'; there are: ci"),
        (("create", "ci", "--role", "invoker"), Conflict, "there is a key 'ci'"),
        (("create", "x", "--role", "boss"), InvalidRequest, "roles.0"),
    ]:
        with pytest.raises(error, match=said):
            engine.text("keys", *words)
    for age in ("1y", "-1d", "nan", ""):
        done = engine.run("keys", "create", "x", "--role", "invoker", "--expires", age)
        assert done.exit_code == 2
