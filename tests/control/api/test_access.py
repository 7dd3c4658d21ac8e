"""Endpoints of keys and rules, as whoever administers all or some graphs sees them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import Identity
from anabranch.access.roles import Grant
from tests.control.control_api import TestControl

TEAM = Identity("key", "lead", (Grant("admin", "team-a-*"),))


@pytest.fixture
def engine(tmp_path: Path) -> TestControl:
    return TestControl(tmp_path)


def call(
    engine: TestControl, method: str, path: str, body: Any = None, by: Identity = TEAM
) -> tuple[int, Any]:
    content = b"" if body is None else orjson.dumps(body)
    return engine.call(method, path, body=content, identity=by)


def who(engine: TestControl, key: str) -> Identity:
    table = asyncio.run(engine.parts.access.now())
    return Guard(table).identify(Credentials(f"Bearer {key}".encode()))


def make(engine: TestControl, name: str, *graphs: str, role: str = "invoker") -> str:
    status, made = engine.send(
        "POST", "/keys", {"name": name, "roles": [role], "graphs": list(graphs)}
    )
    assert status == 201
    return str(made["key"])


def test_a_key_is_shown_once(engine: TestControl) -> None:
    asked = {"name": "ci", "roles": ["invoker", "feedback"], "graphs": ["a", "b*"], "seconds": 60}
    status, made = engine.send("POST", "/keys", asked)
    assert status == 201
    identity = who(engine, made["key"])
    assert (identity.name, len(identity.grants)) == ("ci", 6)  # those of nobody, too
    status, listed = engine.send("GET", "/keys")
    (one,) = listed["keys"]
    assert status == 200 and one == {name: made[name] for name in made if name != "key"}
    assert made["key"] not in str(engine.send("GET", "/events"))
    assert "digest" not in str(listed)


def test_rotation_and_revocation(engine: TestControl) -> None:
    old = make(engine, "ci", "*")
    status, made = engine.send("POST", "/keys/ci/rotate", {"overlap": 0})
    assert status == 201 and who(engine, made["key"]).name == "ci"
    with pytest.raises(Exception, match="not known, or was revoked"):
        who(engine, old)
    assert engine.send("DELETE", "/keys/ci") == (200, {"name": "ci", "state": "revoked"})
    with pytest.raises(Exception, match="not known, or was revoked"):
        who(engine, made["key"])
    for method, path in (("DELETE", "/keys/ci"), ("POST", "/keys/ci/rotate")):
        status, refused = engine.send(method, path)
        assert status == 404 and "`anabranch keys` lists those" in refused["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "name"),
        ({"name": "-", "roles": ["invoker"]}, "name"),
        ({"name": "a b", "roles": ["invoker"]}, "name"),
        ({"name": "a" * 64, "roles": ["invoker"]}, "name"),
        ({"name": "a", "roles": []}, "roles"),
        ({"name": "a", "roles": ["boss"]}, "roles.0"),
        ({"name": "a", "roles": ["invoker"], "graphs": []}, "graphs"),
        ({"name": "a", "roles": ["invoker"], "graphs": ["A"]}, "graphs.0"),
        ({"name": "a", "roles": ["invoker"], "seconds": 0}, "seconds"),
        ({"name": "a", "roles": ["invoker"], "seconds": 1e10}, "seconds"),
        ({"name": "a", "roles": ["invoker"], "key": "mine"}, "key"),
    ],
)
def test_what_makes_no_key_is_named(engine: TestControl, body: dict[str, Any], said: str) -> None:
    status, refused = engine.send("POST", "/keys", body)
    assert status == 400 and refused["error"].startswith(f"{said}: ")


@pytest.mark.parametrize("graphs", [["*"], ["team-*"], ["team-a-x", "shop"], ["team-a*"]])
def test_nobody_gives_away_more_than_they_administer(
    engine: TestControl, graphs: list[str]
) -> None:
    body = {"name": "ci", "roles": ["viewer"], "graphs": graphs}
    status, refused = call(engine, "POST", "/keys", body)
    assert status == 403 and "key 'lead' may not administer on graph" in refused["error"]
    own = {**body, "graphs": ["team-a-*", "team-a-x", "team-a-*-y"]}
    assert call(engine, "POST", "/keys", own)[0] == 201


def test_keys_of_others_are_neither_seen_nor_touched(engine: TestControl) -> None:
    make(engine, "mine", "team-a-x")
    make(engine, "theirs", "team-b-x")
    make(engine, "both", "team-a-x", "team-b-x")
    listed = call(engine, "GET", "/keys")[1]["keys"]
    assert [key["name"] for key in listed] == ["mine"]
    for name in ("theirs", "both"):
        for method, path in (("DELETE", f"/keys/{name}"), ("POST", f"/keys/{name}/rotate")):
            status, refused = call(engine, method, path)
            assert status == 403 and "does not administer all graphs" in refused["error"]
    assert call(engine, "DELETE", "/keys/mine")[0] == 200


def test_roles_that_rules_give_to_a_name_are_not_taken_by_making_or_rotating_it(
    engine: TestControl,
) -> None:
    make(engine, "ci", "team-a-x")
    rules = [{"key": "ci", "role": "admin"}, {"key": "boss", "role": "admin"}]
    assert engine.send("PUT", "/access", {"rules": rules}) == (200, {"rules": 2, "issuers": []})
    assert call(engine, "POST", "/keys/ci/rotate")[0] == 403
    body = {"name": "boss", "roles": ["invoker"], "graphs": ["team-a-x"]}
    assert call(engine, "POST", "/keys", body)[0] == 403


def test_only_who_administers_the_engine_reads_and_sets_the_policy(engine: TestControl) -> None:
    for method in ("GET", "PUT"):
        assert call(engine, method, "/access")[0] == 403
    assert call(engine, "GET", "/access/check")[0] == 403
    status, found = engine.send("GET", "/access")
    both = [{"role": "invoker", "graphs": "*"}, {"role": "feedback", "graphs": "*"}]
    assert (status, found) == (200, {"policy": "", "anonymous": both, "issuers": []})
    status, refused = engine.call("PUT", "/access", body=b"rules: [{key: ci, role: boss}]")
    assert status == 400 and "the policy:1:19: rules.0.role: " in refused["error"]
    status, refused = engine.call("PUT", "/access", body=b"\xff")
    assert status == 400 and "not UTF-8" in refused["error"]


@pytest.mark.parametrize(
    ("query", "allowed", "why"),
    [
        ("kind=key&who=ci&action=call&graph=shop", True, ""),
        ("kind=key&who=ci&action=deploy&graph=shop", False, "key 'ci' may not deploy on graph"),
        ("kind=anonymous&action=call&graph=shop", True, ""),
        ("kind=anonymous&action=view", False, "to view on this engine takes a key with the role"),
        ("kind=group&who=ml&action=operate&graph=shop", True, ""),
        ("kind=group&who=ops&action=operate&graph=shop", False, "group 'ops' may not operate"),
        ("kind=certificate&who=x&action=call&graph=shop", True, ""),
    ],
)
def test_a_check_says_why(engine: TestControl, query: str, allowed: bool, why: str) -> None:
    make(engine, "ci", "shop")
    engine.send("PUT", "/access", {"rules": [{"group": "ml", "role": "operator"}]})
    status, found = engine.call("GET", "/access/check", query)
    assert status == 200 and found["allowed"] is allowed and found["why"].startswith(why)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("kind=key&who=x&action=call", 404, "there is no key 'x'"),
        ("kind=kee&who=x&action=call", 400, "kind='kee' is none of key, certificate"),
        ("kind=key&who=x&action=cal", 400, "did you mean 'call'"),
    ],
)
def test_what_cannot_be_checked_is_named(
    engine: TestControl, query: str, status: int, said: str
) -> None:
    found, refused = engine.call("GET", "/access/check", query)
    assert found == status and said in refused["error"]


def test_everybody_may_ask_who_they_are(engine: TestControl) -> None:
    status, me = engine.call("GET", "/access/me", "graph=team-a-x", identity=TEAM)
    assert status == 200 and (me["kind"], me["name"]) == ("key", "lead")
    assert me["roles"] == [{"role": "admin", "graphs": "team-a-*"}]
    assert "administer" in me["actions"]
    assert engine.call("GET", "/access/me", identity=TEAM)[1]["actions"] == []


def test_lists_hold_only_graphs_that_may_be_seen(engine: TestControl) -> None:
    for name in ("team-a-shop", "team-b-shop"):
        assert engine.deploy(name)[0] == 202
    viewer = Identity("key", "reader", (Grant("viewer", "team-a-*"),))
    graphs = engine.call("GET", "/graphs", identity=viewer)[1]["graphs"]
    assert [graph["graph"] for graph in graphs] == ["team-a-shop"]
    for query in ("", "newest=100"):
        events = engine.call("GET", "/events", query, identity=viewer)[1]["events"]
        assert {event["graph"] for event in events} == {"team-a-shop"}
    assert engine.call("GET", "/events", "graph=team-b-shop", identity=viewer)[1]["events"] == []
    assert set(engine.call("GET", "/history", identity=viewer)[1]["graphs"]) <= {"team-a-shop"}
