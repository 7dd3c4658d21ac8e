"""Quotas of namespaces, at the control API over a real store."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from anabranch.access.identity import Identity
from anabranch.access.roles import Grant
from anabranch.control.lifecycle import operations
from tests.control.control_api import SPEC, TestControl

RESOURCES = "resources: {cpu: CPU, gpu: 0.5, memory: 1GiB}, scaling: {min: 0, max: 2}"
HUNGRY = SPEC.replace("placement: {isolate: true}", RESOURCES)
"""Two replicas of a node, and a head."""


@pytest.fixture
def engine(tmp_path: Path) -> TestControl:
    return TestControl(tmp_path)


def limit(engine: TestControl, **namespaces: str) -> None:
    """Give namespaces quotas; underscores in their names stand for dashes."""
    lines = [f"  {name.replace('_', '-')}: {{{quota}}}" for name, quota in namespaces.items()]
    text = "\n".join(["namespaces:", *lines])
    status, answer = engine.call("PUT", "/access", body=text.encode())
    assert status == 200, answer


def deploy(engine: TestControl, name: str, cpu: float = 1, **more: Any) -> tuple[int, Any]:
    return engine.deploy(name, spec=HUNGRY.replace("CPU", str(cpu)), **more)


def refused(answered: tuple[int, Any]) -> str:
    status, answer = answered
    assert status == 409, answer
    return str(answer["error"])


def use(engine: TestControl, namespace: str) -> Any:
    found = engine.call("GET", "/namespaces")[1]["namespaces"]
    return next(one["use"] for one in found if one["namespace"] == namespace)


def test_without_a_quota_everything_is_allowed(engine: TestControl) -> None:
    limit(engine, other="graphs: 0, cpu: 0")
    assert deploy(engine, "team/a", 4000)[0] == 202
    assert deploy(engine, "a", 4000)[0] == 202


def test_a_refusal_names_namespace_graph_sum_and_limit(engine: TestControl) -> None:
    limit(engine, team_a="cpu: 8")
    assert deploy(engine, "team-a/one", 2.5)[0] == 202
    assert deploy(engine, "team-a/two", 0.5)[0] == 202
    assert refused(deploy(engine, "team-a/three", 1.5)) == (
        "namespace 'team-a' may have 8 cpu: graph 'team-a/three' asks for 3 more, and 6 are taken "
        "(team-a/one 5, team-a/two 1); delete or unload a graph, wait until warm revisions have "
        "ended, ask for less, or have the quota raised"
    )
    assert engine.call("GET", "/graphs/team-a/three")[0] == 404
    assert deploy(engine, "team-a/three")[0] == 202


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        ("graphs: 1", "may have 1 graphs: graph 'team/b' asks for 1 more, and 1 are taken"),
        ("replicas: 5", "may have 5 replicas: graph 'team/b' asks for 3 more, and 3 are taken"),
        ("cpu: 3.9", "may have 3.9 cpu: graph 'team/b' asks for 2 more, and 2 are taken"),
        ("memory: 3GiB", "may have 3GiB memory: graph 'team/b' asks for 2GiB more, and 2GiB are"),
        ("gpu: 1.5", "may have 1.5 gpu: graph 'team/b' asks for 1 more, and 1 are taken"),
        ("graphs: 2, replicas: 6, cpu: 4, gpu: 2, memory: 4GiB", None),
    ],
)
def test_each_resource_has_a_limit(engine: TestControl, quota: str, words: str | None) -> None:
    limit(engine, team=quota)
    assert deploy(engine, "team/a")[0] == 202
    answered = deploy(engine, "team/b")
    if words is None:
        assert answered[0] == 202
    else:
        assert words in refused(answered)


def test_graphs_without_a_namespace_have_the_default_one(engine: TestControl) -> None:
    limit(engine, default="graphs: 1")
    assert deploy(engine, "a")[0] == 202
    assert "namespace 'default' may have 1 graphs" in refused(deploy(engine, "b"))
    assert "namespace 'default'" in refused(deploy(engine, "default/b"))
    assert deploy(engine, "team/a")[0] == 202


def test_every_revision_counts_that_is_up_or_on_its_way(engine: TestControl) -> None:
    limit(engine, team="cpu: 6")
    deploy(engine, "team/a")
    engine.arrive(1, "team/a")
    assert use(engine, "team")["cpu"] == 2
    deploy(engine, "team/a", query='intent={"kind":"canary","percent":5}')
    engine.arrive(2, "team/a")
    assert use(engine, "team")["cpu"] == 4
    engine.call("POST", "/graphs/team/a/promote", body=b'{"revision": 2}')
    assert use(engine, "team")["cpu"] == 4  # the first one is warm
    assert deploy(engine, "team/a")[0] == 202
    assert "6 are taken (team/a 6)" in refused(
        deploy(engine, "team/a", query='intent={"kind":"mirror","percent":5}')
    )
    engine.expire("team/a")
    assert use(engine, "team")["cpu"] == 4


def test_a_deploy_that_supersedes_another_takes_its_place(engine: TestControl) -> None:
    limit(engine, team="cpu: 2")
    deploy(engine, "team/a")
    assert deploy(engine, "team/a")[0] == 202
    assert use(engine, "team") == {
        "graphs": 1, "replicas": 3, "cpu": 2, "gpu": 1, "memory": 2 * 2**30
    }  # fmt: skip


def test_a_repeated_deploy_asks_for_nothing(engine: TestControl) -> None:
    deploy(engine, "team/a")
    limit(engine, team="graphs: 0, cpu: 0")
    status, answer = deploy(engine, "team/a", force=False)
    assert (status, answer["new"]) == (200, False)


def test_a_lowered_quota_changes_nothing_that_runs(engine: TestControl) -> None:
    deploy(engine, "team/a", 4)
    engine.arrive(1, "team/a")
    deploy(engine, "team/a", 4)
    engine.arrive(2, "team/a")
    limit(engine, team="cpu: 1, graphs: 0")
    assert engine.call("GET", "/graphs/team/a")[1]["live"] == 2
    status, answer = engine.call("POST", "/graphs/team/a/rollback")
    assert (status, answer["revision"]) == (200, 1)  # it was up
    assert "16 are taken" in refused(deploy(engine, "team/a", 0.1))
    assert engine.deploy("team/a")[0] == 202  # it takes no CPU
    assert engine.call("POST", "/graphs/team/a/unload")[0] == 409  # that one is on its way
    engine.arrive(3, "team/a")
    assert engine.call("POST", "/graphs/team/a/unload")[0] == 202
    assert engine.call("DELETE", "/graphs/team/a")[0] == 202


def test_loading_is_checked(engine: TestControl) -> None:
    limit(engine, team="cpu: 2")
    deploy(engine, "team/a")
    engine.arrive(1, "team/a")
    assert engine.call("POST", "/graphs/team/a/unload")[0] == 202
    assert use(engine, "team") == {"graphs": 1, "replicas": 0, "cpu": 0, "gpu": 0, "memory": 0}
    assert deploy(engine, "team/b")[0] == 202
    assert "graph 'team/a' asks for 2 more, and 2 are taken (team/b 2)" in refused(
        engine.call("POST", "/graphs/team/a/load")
    )
    engine.call("DELETE", "/graphs/team/b")
    assert engine.call("POST", "/graphs/team/a/load")[0] == 202


def test_a_rollback_that_starts_a_revision_is_checked(engine: TestControl) -> None:
    deploy(engine, "team/a", 3)
    engine.arrive(1, "team/a")
    deploy(engine, "team/a", 1)
    engine.arrive(2, "team/a")
    engine.expire("team/a")
    limit(engine, team="cpu: 7")
    assert "graph 'team/a' asks for 6 more, and 2 are taken (team/a 2)" in refused(
        engine.call("POST", "/graphs/team/a/rollback")
    )
    engine.call("DELETE", "/graphs/team/a")
    engine.change("team/a", operations.gone)
    limit(engine, team="cpu: 7, graphs: 0")
    assert "asks for 1 more, and 0 are taken (none)" in refused(
        engine.call("POST", "/graphs/team/a/rollback")
    )
    limit(engine, team="cpu: 7, graphs: 1")
    assert engine.call("POST", "/graphs/team/a/rollback", body=b'{"to": 1}')[0] == 202


def test_a_failed_revision_takes_nothing(engine: TestControl) -> None:
    limit(engine, team="graphs: 1")
    deploy(engine, "team/a")
    engine.fail(1, "no file", "team/a")
    assert use(engine, "team")["graphs"] == 0
    assert deploy(engine, "team/b")[0] == 202


def test_of_deploys_at_once_no_more_pass_than_fit(engine: TestControl) -> None:
    limit(engine, team="cpu: 4")
    names = [f"team/g{number}" for number in range(6)]
    bundles = {name: engine.bundle(name, HUNGRY.replace("CPU", "1")) for name in names}
    start, found = Barrier(len(names)), []

    def send(name: str) -> None:
        start.wait()
        found.append(engine.call("POST", f"/graphs/{name}/revisions", body=bundles[name])[0])

    threads = [Thread(target=send, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [202, 202, 409, 409, 409, 409]
    assert use(engine, "team")["cpu"] == 4


def test_parts_of_floats_add_up(engine: TestControl) -> None:
    limit(engine, team="cpu: 0.6")
    for number in range(3):
        assert deploy(engine, f"team/g{number}", 0.1)[0] == 202
    assert "0.6 are taken" in refused(deploy(engine, "team/more", 0.1))


def test_a_namespace_is_shown_to_who_may_view_all_of_it(engine: TestControl) -> None:
    limit(engine, team="graphs: 2", empty="cpu: 1")
    deploy(engine, "team/a")
    deploy(engine, "a")

    def seen(graphs: str) -> list[str]:
        viewer = Identity("key", "ci", (Grant("viewer", graphs),))
        found = engine.call("GET", "/namespaces", identity=viewer)[1]["namespaces"]
        return [one["namespace"] for one in found]

    assert seen("*") == ["default", "empty", "team"]
    assert seen("team/*") == ["team"]
    assert seen("team/a") == seen("a") == seen("team") == []
    assert engine.call("GET", "/namespaces", identity=Identity("key", "ci"))[0] == 403


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("namespaces: {Team: {}}", "namespaces.Team"),
        ("namespaces: {team/a: {}}", "namespaces.team/a"),
        ("namespaces: {team: {cpus: 1}}", "unknown field (did you mean `cpu`?)"),
        ("namespaces: {team: {memory: 32}}", "write a number with a unit"),
        ("namespaces: {team: {graphs: -1}}", "must be at least 0"),
        ("namespaces: {team: {cpu: .nan}}", "namespaces.team.cpu"),
        ("namespaces: [team]", "expects fields"),
    ],
)
def test_a_quota_that_makes_no_sense_is_refused(engine: TestControl, text: str, words: str) -> None:
    status, answer = engine.call("PUT", "/access", body=text.encode())
    assert status == 400 and words in answer["error"], answer
