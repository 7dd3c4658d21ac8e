from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy
from sqlalchemy import event

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Intent
from anabranch.control.store.schema import revisions
from anabranch.names import CONTROL_WORDS, GRAPH_IN_PATH
from anabranch.router.measure.tally import Judged, MirrorTally, Report, Tally
from tests.control.control_api import ROLLOUT, SPEC, TestControl
from tests.control.reconcile.test_outages import deployment

UP = {"down_since": None, "reason": "", "waiting": 0, "waits_for": None}


@pytest.fixture
def engine(tmp_path: Path) -> TestControl:
    return TestControl(tmp_path)


def test_an_empty_engine(engine: TestControl) -> None:
    assert engine.call("GET", "/graphs") == (200, {"graphs": []})
    assert engine.call("GET", "/events") == (200, {"events": []})
    assert asyncio.run(engine.parts.graphs.states()) == {}


def test_a_deploy_makes_a_revision(engine: TestControl) -> None:
    assert engine.deploy(query="author=ada&message=first%20one") == (
        202,
        {"graph": "digits", "revision": 1, "state": "pending", "new": True},
    )
    status, revision = engine.call("GET", "/graphs/digits/revisions/1")
    assert status == 200
    assert (revision["author"], revision["message"]) == ("ada", "first one")
    assert (revision["state"], revision["reason"]) == ("pending", "")
    assert "name: digits" in revision["spec"]


def test_the_same_bundle_makes_another_revision_only_by_force(engine: TestControl) -> None:
    engine.deploy()
    already = {"graph": "digits", "revision": 1, "state": "pending", "new": False}
    assert engine.deploy(force=False) == (200, already)
    assert engine.deploy()[1]["revision"] == 2
    first, second = engine.store.revisions("digits")
    assert first.digest == second.digest
    changed = SPEC + "# changed\n"
    assert engine.deploy(spec=changed, force=False)[1]["revision"] == 3
    status, answer = engine.call("POST", "/graphs/digits/revisions", "force=yes", engine.bundle())
    assert status == 400 and answer["error"].startswith("force='yes' is not a whole number")


def test_a_graph_shows_its_revisions_and_segments(engine: TestControl) -> None:
    engine.up(1)
    engine.deploy()
    engine.fail(2, "node 'two': no file")
    status, graph = engine.call("GET", "/graphs/digits")
    assert status == 200
    assert (graph["graph"], graph["live"]) == ("digits", 1)
    assert graph["url"] == "http://127.0.0.1:8000/v2/models/digits"
    assert [(r["revision"], r["state"], r["reason"]) for r in graph["revisions"]] == [
        (2, "failed", "node 'two': no file"),
        (1, "live", ""),
    ]
    assert graph["segments"] == [
        {"name": name, "nodes": nodes, "replicas": 1, "running": 0, **UP}
        for name, nodes in (("head", ["one"]), ("two", ["two"]))
    ]


def test_a_graph_is_unhealthy_while_a_segment_that_it_needs_is_down(engine: TestControl) -> None:
    engine.up(1)
    router = {
        "deployments": {"router": {**deployment("HEALTHY", "RUNNING"), "message": ""}},
        "status": "RUNNING", "message": "",
    }  # fmt: skip
    reconciler = engine.parts.reconciler
    reconciler.applications = {"digits": router}
    sick = deployment("UNHEALTHY", "STARTING", message="no room")
    reconciler.outages.see({"digits.r1": {"deployments": {"two": sick}}}, {("digits", 1)})
    _, graph = engine.call("GET", "/graphs/digits")
    head, two = graph["segments"]
    assert (head["down_since"], two["reason"]) == (None, "no room")
    why = (
        f"output 'y' cannot be computed: segment 'two' is down since {two['down_since']} (no room)"
    )
    assert (graph["state"], graph["obstacle"]) == ("unhealthy", why)
    _, listed = engine.call("GET", "/graphs")
    assert [one["state"] for one in listed["graphs"]] == ["unhealthy"]
    told = asyncio.run(engine.parts.graphs.states())["digits"]
    assert (told["ready"], told["reason"]) == (False, why)
    _, events = engine.call("GET", "/events", "kind=segment_down")
    assert [one["data"]["segment"] for one in events["events"]] == ["two"]
    reconciler.outages.see({}, ())
    assert asyncio.run(engine.parts.graphs.states())["digits"]["ready"]


def states(engine: TestControl) -> dict[str, Any]:
    """What the gateway is told of graphs, but for when they were created."""
    found: dict[str, Any] = {**asyncio.run(engine.parts.graphs.states())}
    for state in found.values():
        assert time.time() - 600 < state.pop("created") <= time.time()
    return found


def test_states_of_graphs_for_the_gateway(engine: TestControl) -> None:
    engine.deploy("first")
    engine.up(1, "second")
    engine.deploy("third")
    engine.fail(1, "no", "third")
    assert states(engine) == {
        "first": {
            "revision": 1,
            "live": False,
            "ready": False,
            "reason": "revision 1 is being deployed",
            "protocols": (),
        },
        "second": {
            "revision": 1,
            "live": True,
            "ready": False,
            "reason": "revision 1 is being brought back",
            "protocols": (),
        },
    }


def test_protocols_of_a_graph_are_those_of_its_stable_revision(engine: TestControl) -> None:
    spec = SPEC.replace("spec:\n", "spec:\n  protocols: [openai, v1]\n")
    engine.deploy(spec=spec)
    engine.arrive(1)
    asyncio.run(engine.parts._writer.publish("digits"))
    assert states(engine)["digits"]["protocols"] == ("openai", "v1")


def test_a_deleted_graph_is_deleting_and_then_gone(engine: TestControl) -> None:
    engine.deploy()
    assert engine.call("DELETE", "/graphs/digits") == (
        202,
        {"graph": "digits", "state": "deleting"},
    )
    assert engine.call("GET", "/graphs/digits")[1]["state"] == "deleting"
    engine.change("digits", operations.gone)
    for method, path in (
        ("GET", "/graphs/digits"),
        ("GET", "/graphs/digits/logs"),
        ("GET", "/graphs/digits/traffic"),
        ("GET", "/graphs/digits/compare"),
        ("POST", "/graphs/digits/abort"),
        ("DELETE", "/graphs/digits"),
    ):
        status, answer = engine.call(method, path)
        assert status == 404 and "'digits' was deleted" in answer["error"]
        assert "`anabranch rollback digits`" in answer["error"]


def test_the_revisions_of_a_deleted_graph_are_shown(engine: TestControl) -> None:
    engine.up(2)
    engine.call("DELETE", "/graphs/digits")
    engine.change("digits", operations.gone)
    status, found = engine.call("GET", "/graphs/digits/revisions")
    assert (status, found["state"]) == (200, "deleted")
    assert [(one["revision"], one["state"]) for one in found["revisions"]] == [
        (2, "retired"), (1, "retired"),
    ]  # fmt: skip
    for path in ("", "/files", "/diff?from=1"):
        path, _, query = path.partition("?")
        assert engine.call("GET", f"/graphs/digits/revisions/2{path}", query)[0] == 200
    status, answer = engine.call("GET", "/graphs/unknown/revisions/1")
    assert status == 404 and "no graph 'unknown'; there are: none" in answer["error"]


def test_a_graph_is_unloaded_and_loaded(engine: TestControl) -> None:
    engine.up(1)
    for _ in range(2):
        assert engine.call("POST", "/graphs/digits/unload") == (
            202,
            {"graph": "digits", "state": "unloaded"},
        )
    assert engine.call("GET", "/graphs/digits")[1]["state"] == "unloaded"
    told = {"revision": 1, "live": False, "ready": False, "reason": "it is unloaded"}
    assert states(engine) == {"digits": {**told, "protocols": ()}}
    status, answer = engine.call("POST", "/graphs/digits/rollback")
    assert status == 409 and "load it first" in answer["error"]
    assert engine.call("POST", "/graphs/digits/load") == (
        202,
        {"graph": "digits", "state": "present"},
    )
    assert engine.call("POST", "/graphs/unknown/load")[0] == 404
    engine.call("DELETE", "/graphs/digits")
    assert engine.call("POST", "/graphs/digits/load")[0] == 409


def test_events_can_be_followed(engine: TestControl) -> None:
    engine.deploy("a")
    engine.deploy("b")
    _, all_events = engine.call("GET", "/events")
    assert [(e["graph"], e["kind"]) for e in all_events["events"]] == [
        ("a", "revision_created"),
        ("b", "revision_created"),
    ]
    after = all_events["events"][0]["id"]
    _, rest = engine.call("GET", "/events", f"after={after}&graph=b&limit=5")
    assert [event["graph"] for event in rest["events"]] == ["b"]


def test_a_spec_with_mistakes_is_refused_with_all_of_them(engine: TestControl) -> None:
    spec = SPEC.replace("inputs: {x: one}", "inputs: {x: noe}").replace("y: two", "y: tow")
    status, answer = engine.deploy(spec=spec)
    assert status == 400
    first, second = answer["error"].splitlines()
    assert first.startswith("graph.yaml:9:") and "'noe'" in first
    assert second.startswith("graph.yaml:10:") and "'tow'" in second
    assert engine.call("GET", "/graphs")[1] == {"graphs": []}


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "words"),
    [
        ("GET", "/", "", 404, "no path '/'"),
        ("GET", "/graphs/a/b/c", "", 404, "it has /access, /access/check"),
        ("PUT", "/graphs", "", 405, "use GET"),
        ("POST", "/graphs/digits", "", 405, "use DELETE, GET"),
        ("GET", "/graphs/digit", "", 404, "no graph 'digit'; there are: digits"),
        ("GET", "/graphs/digits/revisions/9", "", 404, "no revision 9; it has 1 to 1"),
        ("GET", "/graphs/digits/revisions/x", "", 404, "no path"),
        ("GET", "/events", "after=x", 400, "after='x' is not a whole number"),
        ("GET", "/events", "limit=1001", 400, "from 0 to 1000"),
        ("GET", "/events", "after=\u0663", 400, "not a whole number"),
        ("GET", "/events", "a=1&" * 40, 400, "more than 32 fields"),
        ("GET", "/graphs/digits/logs", "tail=-1", 400, "tail='-1'"),
        ("GET", "/graphs/digits", "limit=x", 400, "limit='x'"),
        ("GET", "/graphs/digits/revisions", "limit=10001", 400, "from 0 to 10000"),
        ("GET", "/graphs/digits/revisions", "limit=" + "9" * 5000, 400, "whole number"),
        ("POST", "/graphs/digits/rollout/hurry", "", 404, "/rollout/pause|resume|promote|abort"),
        ("PUT", "/graphs/digits/rollout", "", 405, "use GET"),
        ("POST", "/graphs/iris/revisions", "", 400, "not a zip file"),
    ],
)
def test_errors_name_the_offender(
    engine: TestControl, method: str, path: str, query: str, status: int, words: str
) -> None:
    engine.deploy()
    found, answer = engine.call(method, path, query)
    assert (found, words in answer["error"]) == (status, True), answer


def test_a_graph_of_a_namespace_is_another_one(engine: TestControl) -> None:
    engine.up(1)
    engine.up(2, "team/digits")
    for graph, count in (("team/digits", 2), ("digits", 1)):
        found = engine.call("GET", f"/graphs/{graph}")[1]
        assert (found["graph"], len(found["revisions"])) == (graph, count)
        assert found["url"] == f"http://127.0.0.1:8000/v2/models/{graph}"
        for below in ("/revisions", "/revisions/1", "/traffic"):
            assert engine.call("GET", f"/graphs/{graph}{below}")[1]["graph"] == graph
    events = engine.call("GET", "/events", "graph=team%2Fdigits")[1]["events"]
    assert {event["graph"] for event in events} == {"team/digits"}
    assert engine.call("POST", "/graphs/team/digits/rollback")[1]["revision"] == 1
    assert engine.call("DELETE", "/graphs/team/digits/")[0] == 202
    assert engine.call("GET", "/graphs/digits")[1]["live"] == 1


@pytest.mark.parametrize("name", ["team/infer", "team/traffic", "team/x/y", "team/"])
def test_names_that_no_path_could_tell_are_refused(engine: TestControl, name: str) -> None:
    status, answer = engine.call("POST", "/graphs/team/x/revisions", body=engine.bundle(name))
    assert status == 400 and f"'{name}'" in answer["error"], answer


def test_the_words_below_a_graph_are_known_as_such(engine: TestControl) -> None:
    patterns = [path.pattern for path, _ in engine.api._routes]
    below = [path.partition(f"(?P<graph>{GRAPH_IN_PATH})")[2].split("/?")[0] for path in patterns]
    words = {path.split("/")[1].replace("(?P<action>", "").rstrip(")") for path in below if path}
    assert {word for either in words for word in either.split("|")} == CONTROL_WORDS


def test_a_bundle_for_another_graph_is_refused(engine: TestControl) -> None:
    status, answer = engine.call("POST", "/graphs/iris/revisions", body=engine.bundle("digits"))
    assert status == 400
    assert answer["error"] == "the spec in the bundle is for graph 'digits', not 'iris'"


def test_405_says_what_is_allowed(engine: TestControl) -> None:
    _, headers, _ = engine.raw("PUT", "/graphs")
    assert headers[b"allow"] == b"GET"


def test_files_have_marks_of_their_content(engine: TestControl) -> None:
    engine.deploy()
    engine.deploy(spec=SPEC + "# changed\n")
    first, second = (
        engine.call("GET", f"/graphs/digits/revisions/{number}/files")[1]["files"]
        for number in (1, 2)
    )
    assert first.keys() == second.keys() == {"anabranch.json", "graph.yaml", "parts.py"}
    assert {name for name in first if first[name] != second[name]} == {"graph.yaml"}
    status, answer = engine.call("GET", "/graphs/digits/revisions/3/files")
    assert status == 404 and "no revision 3" in answer["error"]


def intent_of(engine: TestControl, number: int = 1) -> Intent:
    return engine.store.revision("digits", number).intent


def test_without_a_rollout_block_a_deploy_replaces(engine: TestControl) -> None:
    engine.deploy()
    assert intent_of(engine) == Intent("replace")


def test_the_rollout_block_of_the_spec_makes_a_rollout(engine: TestControl) -> None:
    engine.deploy(spec=SPEC + ROLLOUT)
    found = intent_of(engine)
    assert found.kind == "rollout"
    assert found.rollout is not None
    assert found.rollout.steps == [5, 25, 50]


def test_an_intent_stands_in_for_the_block(engine: TestControl) -> None:
    query = urlencode({"intent": '{"kind": "canary", "percent": 2.5}'})
    engine.deploy(query=query, spec=SPEC + ROLLOUT)
    assert intent_of(engine) == Intent("canary", 2.5)
    query = urlencode({"intent": '{"kind": "rollout", "rollout": {"steps": [1]}}'})
    engine.deploy(query=query, spec=SPEC + ROLLOUT)
    plan = intent_of(engine, 2).rollout
    assert plan is not None
    assert plan.steps == [1]
    assert plan.analysis is not None


def test_an_intent_that_makes_no_sense_makes_no_revision(engine: TestControl) -> None:
    status, answer = engine.deploy(query=urlencode({"intent": '{"kind": "canary", "percent": -1}'}))
    assert status == 400
    assert answer["error"].startswith("percent: must be at least 0")
    assert engine.call("GET", "/graphs")[1] == {"graphs": []}


def test_a_rollout_may_not_call_what_the_settings_do_not_allow(engine: TestControl) -> None:
    rollout = '{"kind": "rollout", "rollout": {"steps": [1], "gate": "http://inside.example/"}}'
    status, answer = engine.deploy(query=urlencode({"intent": rollout}))
    assert status == 400
    assert "http://inside.example/" in answer["error"]


def test_arms_show_their_share_and_what_they_measured(engine: TestControl) -> None:
    engine.up(1)
    engine.deploy(query=urlencode({"intent": '{"kind": "canary", "percent": 20}'}))
    engine.arrive(2)
    engine.totals.take("digits", "router", Report(arms={1: Tally(), 2: Tally()}))
    busy = Tally()
    for _ in range(9):
        busy.record(0.01)
    busy.fail("NodeError", 0.01)
    engine.totals.take("digits", "router", Report(arms={1: Tally(), 2: busy}))
    _, graph = engine.call("GET", "/graphs/digits")
    idle, candidate = graph["arms"]
    assert (idle["revision"], idle["state"], idle["weight"], idle["share"]) == (1, "live", 80, 80)
    assert (idle["error_rate"], idle["latency"]["p50"]) == (None, None)
    assert (candidate["revision"], candidate["state"], candidate["share"]) == (2, "ready", 20)
    assert candidate["error_rate"] == 0.1
    assert candidate["requests_per_second"] > 0
    assert candidate["latency"]["p99"] == pytest.approx(0.01, rel=0.03)


def test_arms_show_all_the_rewards_that_routers_know_of(engine: TestControl) -> None:
    engine.up(1)
    tally = Tally()
    for reward in (1.0, 0.0, 0.5):
        tally.reward(reward, Judged(1, 2), {"chooser": "net"})
    engine.totals.take("digits", "router", Report(arms={1: tally}))
    (arm,) = engine.call("GET", "/graphs/digits")[1]["arms"]
    seen = {"rewards": 3, "reward": 0.5, "judged": 6, "accuracy": 0.5}
    assert arm["feedback"].items() >= seen.items()
    (route,) = arm["feedback"]["routes"]
    assert route.items() >= {"router": "chooser", "route": "net", **seen}.items()
    assert route["reward_error"] == pytest.approx(0.5 / 3**0.5)


def test_what_was_decided_is_forgotten_with_the_graph(engine: TestControl) -> None:
    engine.up(1)
    engine.parts.memory.remember("digits", [("a", b"packed")])
    assert engine.call("DELETE", "/graphs/digits")[0] == 202
    assert engine.parts.memory.recall("digits", ["a"]) == [None]


def test_the_totals_are_for_the_thread_of_the_loop(
    engine: TestControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports come in there meanwhile, and change what is being summed."""
    threads: list[threading.Thread] = []
    recent = engine.totals.recent

    def asked(graph: str) -> tuple[Report, float]:
        threads.append(threading.current_thread())
        return recent(graph)

    engine.up(1)
    monkeypatch.setattr(engine.totals, "recent", asked)
    assert engine.call("GET", "/graphs/digits")[0] == 200
    assert threads == [threading.main_thread()]


@pytest.mark.parametrize("name", ["\udcff", "a\0b", "a\nb", "ü" * 64])
def test_a_name_of_any_characters_is_just_not_there(engine: TestControl, name: str) -> None:
    engine.up(1)
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/abort"), ("GET", "/compare")):
        status, said = engine.call(method, f"/graphs/{name}{path}")
        assert status == 404 and "there are: digits" in said["error"]


def test_shares_are_of_the_sum_of_the_weights(engine: TestControl) -> None:
    engine.up(2)
    engine.change("digits", partial(operations.split, weights={1: 3, 2: 1}))
    arms = engine.call("GET", "/graphs/digits")[1]["arms"]
    assert [(arm["weight"], arm["share"]) for arm in arms] == [(3, 75), (1, 25)]


def test_mirrors_show_what_became_of_their_copies(engine: TestControl) -> None:
    engine.up(1)
    engine.deploy(query=urlencode({"intent": '{"kind": "mirror", "percent": 50}'}))
    engine.arrive(2)
    engine.totals.take("digits", "router", Report(mirrors={2: MirrorTally()}))
    tally = MirrorTally(selected=10, sent=8, dropped=2, compared=4, agreed=3, errors=4)
    engine.totals.take("digits", "router", Report(mirrors={2: tally}))
    (mirror,) = engine.call("GET", "/graphs/digits")[1]["mirrors"]
    assert (mirror["revision"], mirror["percent"], mirror["state"]) == (2, 50, "ready")
    assert (mirror["agreement"], mirror["error_rate"]) == (0.75, 0.5)
    assert mirror["sent_per_second"] == pytest.approx(4 * mirror["dropped_per_second"], rel=1e-6)


def test_the_newest_revisions_are_listed_and_all_that_are_up(engine: TestControl) -> None:
    engine.up(1)
    for number in range(2, 6):
        engine.deploy()
        engine.fail(number, "no")
    _, graph = engine.call("GET", "/graphs/digits", "limit=2")
    assert [revision["revision"] for revision in graph["revisions"]] == [5, 4, 1]
    _, listed = engine.call("GET", "/graphs/digits/revisions", "limit=2")
    assert [revision["revision"] for revision in listed["revisions"]] == [5, 4]
    _, every = engine.call("GET", "/graphs/digits/revisions")
    assert [revision["revision"] for revision in every["revisions"]] == [5, 4, 3, 2, 1]


def test_a_revision_says_why_it_was_deployed_and_until_when_it_is_warm(engine: TestControl) -> None:
    engine.up(2)
    _, first = engine.call("GET", "/graphs/digits/revisions/1")
    assert first["state"] == "warm"
    assert first["reason"] == "replaced by revision 2"
    assert first["live_at"] == "2001-09-09T01:46:41.000+00:00"
    assert first["expires_at"] == "2001-09-09T01:56:42.000+00:00"
    assert first["intent"] == {"kind": "replace", "percent": 100.0, "rollout": None}


def test_nothing_is_known_of_the_routers_before_serve_was_asked(engine: TestControl) -> None:
    engine.up(1)
    assert engine.call("GET", "/graphs/digits")[1]["inlined"] is None


@contextmanager
def statements() -> Iterator[list[str]]:
    """What any database is asked meanwhile."""
    told: list[str] = []

    def tell(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        told.append(statement)

    event.listen(sqlalchemy.Engine, "before_cursor_execute", tell)
    try:
        yield told
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", tell)


def test_a_thousand_revisions_are_no_burden(engine: TestControl) -> None:
    """The database is asked about as often for many as for one, and never for all specs."""
    engine.up(1)
    with statements() as of_one:
        engine.call("GET", "/graphs/digits")
    database = engine.store.database
    with database.read() as connection:
        row = dict(connection.execute(revisions.select()).mappings().one())
    row |= {"state": "retired", "spec": row["spec"] + "#" * 20_000}
    with database.write() as connection:
        connection.execute(revisions.insert(), [row | {"number": n} for n in range(2, 1002)])
    with statements() as of_many:
        assert engine.call("GET", "/graphs/digits")[0] == 200
    specs = [one for one in of_many if "revisions.spec" in one]
    assert specs
    assert not [one for one in specs if "revisions.number = ?" not in one and "LIMIT" not in one]
    assert len(of_many) < 2 * len(of_one)


def test_what_is_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.control.parts.log_folder", lambda: tmp_path / "logs")
    engine = TestControl(tmp_path)
    engine.deploy()
    status, view = engine.call("GET", "/kept")
    assert status == 200
    found = {one["what"]: one for one in view["kept"]}
    assert list(found) == ["events", "revisions", "bundles", "models", "environments", "logs"]
    assert (found["bundles"]["count"], found["bundles"]["most_bytes"]) == (1, None)
    assert found["events"]["most"] == 100_000
