"""Traffic by the control API, over a real store; tests play the reconciler and the routers."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from anabranch.access.actor import Actor
from anabranch.access.identity import TOKEN, Asker, Identity
from anabranch.access.roles import Grant, Role
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Intent
from anabranch.control.lifecycle.rollouts import Measurement
from anabranch.router.measure.tally import MirrorTally, Report
from anabranch.specs.models import Rollout
from tests.control.control_api import ROLLOUT, SPEC, TestControl

AT = 1e9


@pytest.fixture
def engine(tmp_path: Path) -> TestControl:
    return TestControl(tmp_path)


@pytest.fixture
def two(engine: TestControl) -> TestControl:
    """Revision 1 is warm, 2 is live."""
    engine.up(2)
    return engine


def beside(engine: TestControl, kind: str, percent: float) -> int:
    """A further revision that is up; its number."""
    intent = {"intent": json.dumps({"kind": kind, "percent": percent})}
    status, sent = engine.deploy(query=urlencode(intent))
    assert status == 202
    engine.arrive(sent["revision"])
    return int(sent["revision"])


def rolled(engine: TestControl) -> int:
    """A rollout in its first step; the candidate's number."""
    status, sent = engine.deploy(spec=SPEC + ROLLOUT)
    assert status == 202
    engine.arrive(sent["revision"])
    return int(sent["revision"])


def states(engine: TestControl) -> dict[int, str]:
    return {one.number: one.state for one in engine.store.revisions("digits")}


def generation(engine: TestControl) -> int:
    return engine.store.situation("digits").generation


def ok(answer: tuple[int, Any], status: int = 200) -> Any:
    assert answer[0] == status, answer
    return answer[1]


def refused(answer: tuple[int, Any], status: int, *words: str) -> None:
    assert answer[0] == status, answer
    for word in words:
        assert word in answer[1]["error"]


def test_traffic_shows_weights_and_mirrors(two: TestControl) -> None:
    number = beside(two, "mirror", 25)
    assert ok(two.call("GET", "/graphs/digits/traffic")) == {
        "graph": "digits",
        "generation": generation(two),
        "live": 2,
        "weights": {"2": 100.0},
        "mirrors": {str(number): 25.0},
    }


def test_weights_and_mirrors_are_set_together(two: TestControl) -> None:
    mirror = beside(two, "mirror", 25)
    body = {"weights": {"2": 9, "1": 0.5}, "mirrors": {str(mirror): 50}}
    found = ok(two.send("PUT", "/graphs/digits/traffic", body))
    assert found["weights"] == {"1": 0.5, "2": 9}
    assert found["mirrors"] == {str(mirror): 50}
    assert states(two)[1] == "ready"
    kinds = [event.kind for event in two.store.events("digits", limit=1000)][-2:]
    assert kinds == ["weights_changed", "mirrors_changed"]


def test_if_one_of_both_is_refused_neither_is_set(two: TestControl) -> None:
    before = generation(two)
    body = {"weights": {"2": 9, "1": 1}, "mirrors": {"7": 50}}
    refused(two.send("PUT", "/graphs/digits/traffic", body), 404, "7")
    assert generation(two) == before
    assert two.store.situation("digits").situation.weights == {2: 100}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "mirrors"),
        ({"weights": {}, "mirrors": {}}, 400, "weights"),
        ({"weights": None}, 400, "weights"),
        ({"wieghts": {"1": 1}}, 400, "did you mean `weights`?"),
        ({"weights": {"1": 0, "2": 0}}, 400, "sum"),
        ({"weights": {"1": -1, "2": 2}}, 400, "-1"),
        ({"weights": {"1": 1e308, "2": 1e308}}, 400, "1e+308"),
        ({"weights": {"9": 1}}, 404, "revision 9"),
        ({"weights": {"one": 1}}, 400, "weights.one: is not the number of a revision"),
        ({"weights": {"r1": 1}}, 400, "weights.r1"),
        ({"weights": {"01": 1}}, 400, "weights.01"),
        ({"weights": {"\u0661": 1}}, 400, "weights"),
        ({"weights": {"": 1}}, 400, "weights"),
        ({"weights": {"9" * 40: 1}}, 400, "weights"),
        ({"weights": {"1": "much"}}, 400, "weights.1"),
        ({"weights": {"1": True}}, 400, "weights.1"),
        ({"weights": {"1": None}}, 400, "weights.1"),
        ({"weights": {"1": float("nan")}}, 400, "NaN"),
        ({"weights": [1, 2]}, 400, "weights"),
        ({"weights": {str(n): 1 for n in range(1, 1500)}}, 400, "1000"),
        ({"mirrors": {"2": 50}}, 400, "revision 2 is the stable one"),
        ({"mirrors": {"1": 100.5}}, 400, "mirrors.1: must be at most 100"),
        ({"mirrors": {"1": -1}}, 400, "mirrors.1"),
        ([], 400, "object"),
        ({"x": "y" * 70_000}, 413, "65536"),
    ],
)
def test_traffic_that_makes_no_sense_is_refused(
    two: TestControl, body: Any, status: int, words: str
) -> None:
    before = generation(two)
    refused(two.send("PUT", "/graphs/digits/traffic", body), status, words)
    assert generation(two) == before


def test_the_weights_of_a_rollout_are_its_own(two: TestControl) -> None:
    number = rolled(two)
    answer = two.send("PUT", "/graphs/digits/traffic", {"weights": {"2": 1}})
    refused(answer, 409, f"rollout of revision {number}", "abort or promote")


def test_a_promotion_takes_the_candidate(two: TestControl) -> None:
    number = beside(two, "canary", 10)
    found = ok(two.send("POST", "/graphs/digits/promote"))
    assert (found["live"], found["weights"]) == (number, {str(number): 100})
    assert states(two)[2] == "warm"


def test_a_promotion_takes_the_only_mirror_where_there_is_no_candidate(two: TestControl) -> None:
    number = beside(two, "mirror", 10)
    assert ok(two.send("POST", "/graphs/digits/promote"))["live"] == number
    assert two.store.situation("digits").situation.mirrors == {}


def test_of_two_mirrors_one_has_to_be_named(two: TestControl) -> None:
    first, second = beside(two, "mirror", 10), beside(two, "mirror", 10)
    refused(two.send("POST", "/graphs/digits/promote"), 409, f"r{first} (ready)", f"r{second}")
    assert ok(two.send("POST", "/graphs/digits/promote", {"revision": first}))["live"] == first


def test_a_warm_revision_is_promoted_by_name(two: TestControl) -> None:
    assert ok(two.send("POST", "/graphs/digits/promote", {"revision": 1}))["live"] == 1
    assert states(two) == {1: "live", 2: "warm"}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 409, "no one candidate"),
        ({"revision": 9}, 404, "up are: r1 (warm), r2 (live)"),
        ({"revision": 3}, 409, "revision 3 of graph 'digits' is pending"),
        ({"revision": 0}, 400, "revision: must be at least 1"),
        ({"revision": "r1"}, 400, "revision: must be a whole number"),
        ({"revision": 1.5}, 400, "revision"),
        ({"revison": 1}, 400, "did you mean `revision`?"),
    ],
)
def test_promotions_that_make_no_sense_are_refused(
    two: TestControl, body: Any, status: int, words: str
) -> None:
    two.deploy()
    refused(two.send("POST", "/graphs/digits/promote", body), status, words)


def test_an_abort_gives_all_traffic_back(two: TestControl) -> None:
    number = beside(two, "canary", 10)
    found = ok(two.send("POST", "/graphs/digits/abort"))
    assert found["weights"] == {"2": 100}
    assert states(two)[number] == "warm"
    refused(two.send("POST", "/graphs/digits/abort"), 409, "nothing to abort")


@pytest.mark.parametrize("path", ["abort", "rollout/abort", "rollout/pause"])
def test_what_takes_no_fields_refuses_them(two: TestControl, path: str) -> None:
    rolled(two)
    refused(two.send("POST", f"/graphs/digits/{path}", {"now": True}), 400, "now: unknown field")


def test_a_warm_revision_is_back_at_once(two: TestControl) -> None:
    found = ok(two.send("POST", "/graphs/digits/rollback"))
    assert (found["revision"], found["state"], found["weights"]) == (1, "live", {"1": 100})
    found = ok(two.send("POST", "/graphs/digits/rollback"))
    assert (found["revision"], states(two)) == (2, {1: "warm", 2: "live"})


def test_a_retired_revision_comes_up_again(two: TestControl) -> None:
    two.expire()
    assert states(two)[1] == "retired"
    found = ok(two.send("POST", "/graphs/digits/rollback", {"to": 1}), 202)
    assert (found["revision"], found["state"], found["weights"]) == (1, "pending", {"2": 100})
    refused(two.send("POST", "/graphs/digits/rollback", {"to": 1}), 409, "on its way already")
    two.arrive(1)
    assert states(two) == {1: "live", 2: "warm"}


def test_a_rollback_is_not_overtaken_by_what_was_on_its_way(two: TestControl) -> None:
    assert two.deploy()[0] == 202
    assert ok(two.send("POST", "/graphs/digits/rollback"))["live"] == 1
    failed = ok(two.call("GET", "/graphs/digits/revisions/3"))
    assert failed["state"] == "failed"
    assert failed["reason"] == "superseded by the rollback to revision 1"
    two.arrive(3)
    assert two.store.situation("digits").situation.stable == 1


def test_a_promotion_is_not_overtaken_by_an_older_deploy(two: TestControl) -> None:
    assert two.deploy()[0] == 202
    number = beside(two, "mirror", 25)
    assert ok(two.send("POST", "/graphs/digits/promote", {"revision": number}))["live"] == number
    two.arrive(3)
    assert two.store.situation("digits").situation.stable == number


def test_a_rollback_that_was_superseded_may_be_asked_for_again(two: TestControl) -> None:
    """The revision was up once, so it did not fail to come up."""
    two.expire()
    ok(two.send("POST", "/graphs/digits/rollback", {"to": 1}), 202)
    number = ok(two.deploy(), 202)["revision"]
    assert states(two)[1] == "failed"
    two.arrive(number)
    assert ok(two.send("POST", "/graphs/digits/rollback", {"to": 1}), 202)["state"] == "pending"


def test_a_rollout_shows_what_the_last_look_found(two: TestControl) -> None:
    rolled(two)
    found = [Measurement("error_rate", "pass", "error_rate 0 <= max 0.01", 0.0, 0.01, 100)]
    two.change("digits", partial(operations.looked, found=found))
    view = ok(two.call("GET", "/graphs/digits/rollout"))
    assert view["verdict"] == "pass"
    assert view["measurements"] == [
        {"metric": "error_rate", "verdict": "pass", "message": "error_rate 0 <= max 0.01",
         "value": 0.0, "limit": 0.01, "samples": 100}
    ]  # fmt: skip


def test_a_rollout_on_its_way_is_told_of(two: TestControl) -> None:
    number = ok(two.deploy(spec=SPEC + ROLLOUT), 202)["revision"]
    words = f"that of revision {number} begins once it is up"
    refused(two.call("GET", "/graphs/digits/rollout"), 404, words)


def test_a_rollback_goes_to_the_one_that_was_live_last(engine: TestControl) -> None:
    engine.up(3)
    two_is_back = engine.send("POST", "/graphs/digits/promote", {"revision": 1})
    assert ok(two_is_back)["live"] == 1
    assert ok(engine.send("POST", "/graphs/digits/rollback"))["revision"] == 3


def test_with_a_candidate_it_is_not_clear_what_to_go_back_to(two: TestControl) -> None:
    beside(two, "canary", 10)
    refused(two.send("POST", "/graphs/digits/rollback"), 409, "`abort`", "--to")
    assert ok(two.send("POST", "/graphs/digits/rollback", {"to": 1}))["live"] == 1


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"to": 3}, 409, "revision 3 of graph 'digits' never came up: no file"),
        ({"to": 9}, 404, "no revision 9; it has 1 to 3"),
        ({"to": 0}, 400, "to: must be at least 1"),
        ({"to": 10**12}, 400, "to: must be"),
        ({"to": "1"}, 400, "to: must be a whole number"),
        ({"too": 1}, 400, "did you mean `to`?"),
    ],
)
def test_rollbacks_that_make_no_sense_are_refused(
    two: TestControl, body: Any, status: int, words: str
) -> None:
    two.deploy()
    two.fail(3, "no file")
    refused(two.send("POST", "/graphs/digits/rollback", body), status, words)


def test_a_first_revision_has_nothing_before_it(engine: TestControl) -> None:
    engine.up(1)
    refused(engine.send("POST", "/graphs/digits/rollback"), 409, "no revision to go back to")


def test_a_rollback_to_the_stable_revision_takes_the_others_out(two: TestControl) -> None:
    number = beside(two, "canary", 10)
    assert ok(two.send("POST", "/graphs/digits/rollback", {"to": 2}))["weights"] == {"2": 100}
    assert states(two)[number] == "warm"


def test_a_graph_that_is_going_takes_no_orders(two: TestControl) -> None:
    ok(two.call("DELETE", "/graphs/digits"), 202)
    for method, path in (
        ("PUT", "traffic"), ("POST", "promote"), ("POST", "abort"),
        ("POST", "rollout/pause"), ("GET", "rollout"), ("GET", "compare"),
    ):  # fmt: skip
        body = {"weights": {"1": 1}} if path == "traffic" else None
        refused(two.send(method, f"/graphs/digits/{path}", body), 409, "is being deleted")


@pytest.mark.parametrize("gone", [True, False])
def test_a_rollback_brings_a_deleted_graph_back(two: TestControl, gone: bool) -> None:
    """With the revision that was stable last, or with the one that is asked for."""
    for body, number in (None, 2), ({"to": 1}, 1):
        ok(two.call("DELETE", "/graphs/digits"), 202)
        if gone:
            two.change("digits", operations.gone)
        found = ok(two.send("POST", "/graphs/digits/rollback", body), 202)
        assert (found["revision"], found["state"], found["live"]) == (number, "pending", None)
        two.arrive(number, at=2e9 + number)
        assert ok(two.call("GET", "/graphs/digits/traffic"))["weights"] == {str(number): 100.0}


def test_a_deleted_graph_that_never_was_up_does_not_come_back(engine: TestControl) -> None:
    engine.deploy()
    engine.fail(1, "no such file")
    ok(engine.call("DELETE", "/graphs/digits"), 202)
    refused(engine.send("POST", "/graphs/digits/rollback"), 409, "no revision to go back to")
    refused(engine.send("POST", "/graphs/digits/rollback", {"to": 1}), 409, "never came up")


def test_a_graph_does_not_come_back_to_a_port_that_is_another_s_now(engine: TestControl) -> None:
    spec = SPEC + "  serving: {port: 18080}\n"
    for name in ("first", "second"):
        assert engine.deploy(name, spec=spec)[0] == 202
        engine.arrive(1, name)
        ok(engine.call("DELETE", f"/graphs/{name}"), 202)
    ok(engine.send("POST", "/graphs/first/rollback"), 202)
    refused(
        engine.send("POST", "/graphs/second/rollback"), 409, "18080 is the port of graph 'first'"
    )
    assert engine.store.situation("second").situation.state == "deleting"


@pytest.mark.parametrize("path", ["traffic", "rollout", "compare"])
def test_an_unknown_graph(two: TestControl, path: str) -> None:
    refused(two.call("GET", f"/graphs/iris/{path}"), 404, "no graph 'iris'; there are: digits")


def test_without_a_rollout_there_is_none_to_show(two: TestControl) -> None:
    refused(two.call("GET", "/graphs/digits/rollout"), 404, "has had no rollout")
    for action in ("pause", "resume", "promote", "abort"):
        status, _ = two.send("POST", f"/graphs/digits/rollout/{action}")
        assert status in (404, 409)


def test_a_rollout_shows_where_it_stands(two: TestControl) -> None:
    number = rolled(two)
    found = ok(two.call("GET", "/graphs/digits/rollout"))
    assert (found["revision"], found["phase"], found["paused_by"]) == (number, "running", None)
    assert (found["step"], found["steps"], found["weight"]) == (1, [5, 25, 50], 5)
    assert found["next_look"] == "2001-09-09T01:46:50.000+00:00"
    assert found["held_until"] == "2001-09-09T01:48:40.000+00:00"
    assert Rollout.model_validate(found["plan"]).analysis is not None
    assert ok(two.call("GET", "/graphs/digits"))["rollout"] == found


def test_a_rollout_is_paused_and_resumed(two: TestControl) -> None:
    rolled(two)
    found = ok(two.send("POST", "/graphs/digits/rollout/pause"))["rollout"]
    assert (found["phase"], found["paused_by"]) == ("paused", "user")
    assert found["held_until"] is None
    assert found["next_look"] is not None
    assert ok(two.send("POST", "/graphs/digits/rollout/resume"))["rollout"]["phase"] == "running"
    refused(two.send("POST", "/graphs/digits/rollout/resume"), 409, "not paused")


def test_a_rollout_is_promoted(two: TestControl) -> None:
    number = rolled(two)
    found = ok(two.send("POST", "/graphs/digits/rollout/promote"))
    assert (found["live"], found["rollout"]["phase"]) == (number, "promoted")
    assert found["rollout"]["next_look"] is None
    refused(two.send("POST", "/graphs/digits/rollout/promote"), 409, "over", "promoted")
    refused(two.send("POST", "/graphs/digits/rollout/abort"), 409, "over", "promoted")


def test_a_rollout_is_aborted(two: TestControl) -> None:
    number = rolled(two)
    found = ok(two.send("POST", "/graphs/digits/rollout/abort"))
    assert (found["weights"], found["rollout"]["phase"]) == ({"2": 100}, "aborted")
    assert states(two)[number] == "warm"


def test_a_rollout_without_a_hold_waits_for_nobody_in_particular(two: TestControl) -> None:
    two.deploy()
    plan = Rollout(steps=[10.0])
    two.change("digits", lambda now, _: operations.created(now, 3, Intent("rollout", rollout=plan)))
    two.arrive(3)
    found = ok(two.call("GET", "/graphs/digits/rollout"))
    assert (found["next_look"], found["held_until"]) == (None, None)


def approving(control: TestControl, **approve: Any) -> None:
    """A rollout that whoever has the token has begun, and that waits for an approval."""
    spec = SPEC + ROLLOUT + f"    approve: {json.dumps({'role': 'operator', **approve})}\n"
    assert control.deploy(spec=spec)[0] == 202
    control.arrive(3)
    control.change("digits", operations.asked)


def key(name: str, role: Role) -> Identity:
    return Identity("key", name, (Grant(role),))


def test_an_approval_by_somebody_else_lets_a_rollout_go_on(two: TestControl) -> None:
    approving(two)
    path = "/graphs/digits/rollout/approve"
    found = ok(two.call("GET", "/graphs/digits/rollout"))
    assert (found["paused_by"], found["paused_at"]) == ("approval", "2001-09-09T01:46:40.000+00:00")
    assert found["approval"] == {"role": "operator", "other_than": "token"}
    refused(two.send("POST", path), 403, "token has deployed revision 3", "another operator")
    with two.asked_by(key("ann", "deployer")):
        refused(two.send("POST", path), 403, "key 'ann' may not approve", "the role operator")
    with two.asked_by(key("eve", "invoker")):
        refused(two.send("POST", path), 403, "may not view")
    refused(two.send("POST", "/graphs/digits/rollout/resume"), 409, "waits for an approval")
    refused(two.send("POST", path, {"by": "me"}), 400, "by")
    with two.asked_by(key("bob", "operator")):
        after = ok(two.send("POST", path))["rollout"]
    assert (after["phase"], after["approval"], after["paused_at"]) == ("running", None, None)
    event = two.store.events("digits")[-1]
    assert (event.kind, event.message) == ("rollout_approved", "by key 'bob'")
    assert event.actor == Actor("key", "bob", "10.0.0.1", "q1")
    refused(two.send("POST", path), 409, "waits for no approval")
    (told,) = two.parts.refusals.due()  # all from one address
    assert (told.count, told.graph, told.actor.name, told.reason) == (
        3,
        "digits",
        "eve",
        "forbidden",
    )
    assert told.message.startswith("POST /graphs/digits/rollout/approve: key 'eve' may not view")


def test_an_admin_has_the_role_and_the_author_may_where_the_plan_says_so(two: TestControl) -> None:
    approving(two, other_than_author=False)
    assert ok(two.send("POST", "/graphs/digits/rollout/approve"))["rollout"]["phase"] == "running"


def test_mirrors_are_compared(two: TestControl) -> None:
    number = beside(two, "mirror", 25)
    tally = MirrorTally(
        selected=12, sent=10, dropped=2, compared=6, agreed=3, close=2, errors=2, pending=2,
        kinds={"NodeError": 2},
    )  # fmt: skip
    for _ in range(6):
        tally.latency.add(0.3)
        tally.primary.add(0.1)
    two.totals.take("digits", "router", Report(mirrors={number: tally}))
    answer = ok(two.call("GET", "/graphs/digits/compare"))
    (found,) = answer["mirrors"]
    assert (answer["graph"], answer["live"]) == ("digits", 2)
    assert (found["revision"], found["percent"], found["state"]) == (number, 25, "ready")
    counts = ("selected", "sent", "dropped", "compared", "agreed", "close", "errors", "pending")
    assert [found[name] for name in counts] == [12, 10, 2, 6, 3, 2, 2, 2]
    assert (found["agreement"], found["error_rate"]) == (0.5, 0.25)
    assert found["kinds"] == {"NodeError": 2}
    assert found["latency"]["p99"] == pytest.approx(0.3, rel=0.03)
    assert found["primary_latency"]["p50"] == pytest.approx(0.1, rel=0.03)
    assert found["difference"]["p95"] == pytest.approx(0.2, rel=0.06)


def test_a_mirror_without_copies_has_no_figures(two: TestControl) -> None:
    beside(two, "mirror", 25)
    (found,) = ok(two.call("GET", "/graphs/digits/compare"))["mirrors"]
    assert found["selected"] == 0
    assert (found["agreement"], found["error_rate"]) == (None, None)
    assert found["difference"] == {"p50": None, "p95": None, "p99": None}


def test_a_mirror_that_has_ended_is_shown_while_it_is_up(two: TestControl) -> None:
    number = beside(two, "mirror", 25)
    two.totals.take("digits", "router", Report(mirrors={number: MirrorTally(selected=1, sent=1)}))
    ok(two.send("PUT", "/graphs/digits/traffic", {"mirrors": {str(number): 0}}))
    (found,) = ok(two.call("GET", "/graphs/digits/compare"))["mirrors"]
    assert (found["percent"], found["state"], found["sent"]) == (0, "warm", 1)
    two.expire()
    assert ok(two.call("GET", "/graphs/digits/compare"))["mirrors"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("PUT traffic", {"weights": {"1": 1}}),
        ("PUT traffic", {"weights": {"2": 100}}),
        ("POST promote", {"revision": 1}),
        ("POST abort", None),
        ("POST rollback", {}),
    ],
)
def test_a_change_is_in_force_when_its_answer_comes(two: TestControl, path: str, body: Any) -> None:
    if path == "POST abort":
        beside(two, "canary", 10)
    method, name = path.split()
    data = b"" if body is None else json.dumps(body).encode()
    holds: dict[str, int] = {}

    async def poll(replica: str) -> None:
        table = await two.topics.table("digits", replica, holds.get(replica, 0))
        assert table is not None
        holds[replica] = table.generation

    async def router(replica: str) -> None:
        while True:
            await poll(replica)

    async def scenario() -> Any:
        await two.parts.publish()
        await asyncio.gather(poll("a"), poll("b"))
        routers = [asyncio.create_task(router(name)) for name in ("a", "b")]
        answer = await two.api.handle(method, f"/graphs/digits/{name}", "", data, Asker(TOKEN))
        held = dict(holds)
        for task in routers:
            task.cancel()
        return answer, held

    (status, _, answer), held = asyncio.run(scenario())
    found = json.loads(answer)
    assert status == 200
    assert found["routers"] == {"confirmed": 2, "known": 2}
    assert held == {"a": found["generation"], "b": found["generation"]}


def test_a_router_that_does_not_confirm_is_told_of(
    two: TestControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.control.api.traffic.CONFIRMATION_S", 0.01)

    async def scenario() -> Any:
        await two.parts.publish()
        stuck = asyncio.create_task(two.topics.table("digits", "stuck", 0))
        await stuck
        return await two.api.handle("POST", "/graphs/digits/rollback", "", b"", Asker(TOKEN))

    status, _, answer = asyncio.run(scenario())
    assert status == 200
    assert json.loads(answer)["routers"] == {"confirmed": 0, "known": 1}


def test_a_router_that_has_ended_is_not_waited_for(two: TestControl) -> None:
    async def scenario() -> Any:
        await two.parts.publish()
        await two.topics.table("digits", "ended", 0)
        await two.topics.leave("digits", "ended")
        return await two.api.handle("POST", "/graphs/digits/rollback", "", b"", Asker(TOKEN))

    _, _, answer = asyncio.run(scenario())
    assert json.loads(answer)["routers"] == {"confirmed": 0, "known": 0}
