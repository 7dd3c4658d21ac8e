from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from anabranch.access.identity import Identity
from anabranch.access.roles import Grant
from anabranch.control.store.schema import events
from tests.control.actors import ANN_ASKS
from tests.control.control_api import TestControl


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[TestControl]:
    control = TestControl(tmp_path)
    yield control
    control.store.close()


def found(engine: TestControl, **query: object) -> list[Any]:
    status, view = engine.call("GET", "/events", urlencode(query))
    assert status == 200, view
    return [(event["graph"], event["kind"]) for event in view["events"]]


def test_who_asks_for_a_change_is_who_acts(engine: TestControl) -> None:
    with engine.asked_by(ANN_ASKS):
        engine.deploy()
    engine.arrive(1)
    with engine.asked_by(ANN_ASKS):
        engine.call("DELETE", "/graphs/digits")
    _, view = engine.call("GET", "/events")
    own = {"kind": "key", "name": "ann", "address": "10.0.0.1", "request_id": "q1"}
    engine_itself = {"kind": "engine", "name": "", "address": "", "request_id": ""}
    assert [(event["kind"], event["actor"]) for event in view["events"]] == [
        ("revision_created", own), ("promoted", engine_itself), ("delete_requested", own),
    ]  # fmt: skip
    assert view["events"][-1]["change"] == {
        "before": {
            "state": "present", "stable": 1, "weights": {"1": 100.0}, "revisions": {"1": "live"},
        },
        "after": {
            "state": "deleting", "stable": None, "weights": {}, "revisions": {"1": "retired"},
        },
    }  # fmt: skip


def test_filters_of_the_query(engine: TestControl) -> None:
    with engine.asked_by(ANN_ASKS):
        engine.deploy("a-one")
    engine.deploy("a-two")
    engine.store.log("b", 2, "noted", "")
    one, two, noted = (("a-one", "revision_created"), ("a-two", "revision_created"), ("b", "noted"))
    assert found(engine) == [one, two, noted]
    assert found(engine, graph="a-*") == found(engine, kind="revision_*") == [one, two]
    assert found(engine, actor="key:ann") == found(engine, actor="ann") == [one]
    assert found(engine, actor="engine", newest=1) == found(engine, revision=2) == [noted]
    assert found(engine, since="2001-01-01T00:00:00+00:00", after=1) == [two, noted]
    assert found(engine, until="2001-01-01") == found(engine, since=1e12) == []
    assert found(engine, graph="\0") == []


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "since=yesterday",
            "since='yesterday' is no time: give a Unix time in seconds, or ISO 8601",
        ),
        ("until=nan", "until='nan' is no time"),
        ("until=1e999", "until='1e999' is no time"),
        ("revision=r1", "revision='r1' is not a whole number"),
        ("newest=1001", "from 0 to 1000"),
        (f"actor={'a' * 300}", "actor has 300 characters; it may have 256"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(engine: TestControl, query: str, text: str) -> None:
    status, view = engine.call("GET", "/events", query)
    assert status == 400 and text in view["error"]


def test_who_may_view_some_graphs_sees_their_events_and_no_other(engine: TestControl) -> None:
    for name in ("a-one", "b", "a-two"):
        engine.deploy(name)
    engine.store.log("", None, "refused", "")
    viewer = Identity("key", "vic", (Grant("viewer", "a-*"),))
    with engine.asked_by(viewer):
        assert [graph for graph, _ in found(engine)] == ["a-one", "a-two"]
        assert [graph for graph, _ in found(engine, after=1, limit=1)] == ["a-two"]
        assert found(engine, graph="b", newest=5) == []
        assert engine.call("GET", "/events/verify")[0] == 403
        assert engine.call("GET", "/kept")[0] == 403


def test_verifying_the_chain(engine: TestControl) -> None:
    engine.deploy()
    newest = engine.store.newest_events("digits", 1)[0]
    whole = {
        "verified": 1, "unrecorded": 0, "first": 1, "last": 1, "hash": newest.hash,
        "broken": None, "reason": "", "contains": None,
    }  # fmt: skip
    assert engine.call("GET", "/events/verify") == (200, whole)
    assert engine.call("GET", "/events/verify", f"hash={newest.hash}")[1]["contains"] is True
    assert engine.call("GET", "/events/verify", "hash=0f")[1]["contains"] is False
    with engine.store.database.write() as connection:
        connection.execute(events.update().values(kind="other"))
    status, broken = engine.call("GET", "/events/verify")
    assert (status, broken["broken"], broken["verified"]) == (200, 1, 0)
