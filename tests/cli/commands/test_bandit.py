"""``anabranch bandit``, against the real control API over HTTP."""

from __future__ import annotations

import json

import pytest

from anabranch.cli.reports.bandit import bandits_text
from anabranch.errors import NotFound
from tests.control.learners import rewarded, spec


@pytest.fixture
def duo(engine):
    """A graph in which two routers learn, and one has."""
    linear = {"strategy": "linucb", "inputs": {"x": "x"}}
    graph = spec("duo", pick={"strategy": "thompson"}, linear=linear)
    engine.text("deploy", engine.file(json.dumps(graph)))
    with engine.store.database.write() as connection:
        engine.parts.bandits.learn(connection, "duo", [*[rewarded(1.0)] * 18, rewarded(0.0, "b")])
    return engine


def test_a_table_for_each_router(duo):
    pick, linear = duo.text("bandit", "duo").split("\n\n")
    head, columns, a, b = pick.splitlines()
    assert head.startswith("pick: thompson in r1, 19 rewards, the last at 20")
    assert columns.split() == [
        "ROUTE", "SHARE", "REWARDS", "WEIGHT", "MEAN", "95", "%", "POSTERIOR"
    ]  # fmt: skip
    assert a.startswith("a ")
    assert " 18 " in a
    assert a.endswith("alpha 19, beta 1")
    assert b.endswith("alpha 1, beta 2")
    assert linear.splitlines()[0] == "linear: linucb in r1, 0 rewards"
    assert "by features" in linear


def test_one_router(duo):
    found = duo.json("bandit", "duo", "--router", "linear")
    assert [one["router"] for one in found["bandits"]] == ["linear"]
    done = duo.run("bandit", "duo", "--router", "liner")
    assert done.exit_code == 1
    assert isinstance(done.exception, NotFound)
    assert "did you mean 'linear'?" in str(done.exception)


def test_reset_asks_and_without_a_terminal_needs_yes(duo, monkeypatch):
    done = duo.run("bandit", "duo", "--reset")
    assert done.exit_code == 2
    assert "--yes goes ahead (delete what all routers of duo learned?" in done.stderr
    monkeypatch.setattr("anabranch.cli.terminal.is_terminal", lambda: True)
    assert duo.run("bandit", "duo", "--reset", "--router", "pick", answers="n\n").exit_code == 1
    assert not [event for event in duo.store.events("duo") if "forgotten" in event.message]
    assert duo.run("bandit", "duo", "--reset", "--router", "pick", answers="y\n").exit_code == 0
    assert [event for event in duo.store.events("duo") if "forgotten" in event.message]


def test_a_reset(duo):
    found = duo.json("bandit", "duo", "--reset", "--router", "pick", "--yes")
    assert [one["rewards"] for one in found["bandits"]] == [0]
    assert "what router 'pick' has learned was forgotten" in [
        event.message for event in duo.store.events("duo")
    ]
    assert isinstance(
        duo.run("bandit", "duo", "--reset", "--router", "x", "--yes").exception, NotFound
    )


def test_a_graph_in_which_nothing_learns(engine):
    engine.text("deploy", engine.file())
    assert engine.text("bandit", "digits") == "digits has no learning router\n"


def test_long_vectors_are_shown_in_full():
    route = {
        "route": "a", "share": None, "rewards": 1, "weight": 0.5, "mean": 0.25, "interval": None,
        "posterior": {"theta": [0.5] * 9},
    }  # fmt: skip
    one = {
        "router": "r", "strategy": "linucb", "revisions": [1, 2], "rewards": 1,
        "updated_at": None, "routes": [route],
    }  # fmt: skip
    text = bandits_text({"graph": "g", "bandits": [one]})
    assert text.startswith("r: linucb in r1, r2, 1 reward\n")
    assert text.endswith("theta [" + "0.5, " * 8 + "0.5]")
