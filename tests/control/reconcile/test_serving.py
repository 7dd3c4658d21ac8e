from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray import serve
from ray.serve import config
from ray.serve.schema import ApplicationStatus

from anabranch.control.lifecycle.decide import App
from anabranch.control.nodes.node import ClusterLook
from anabranch.control.nodes.shared import LOOPBACK
from anabranch.control.reconcile import serving
from anabranch.control.reconcile.serving import (
    REVISION_VARIABLE,
    observe,
    reason,
    start,
    taken,
    unplaceable,
)
from anabranch.control.release.release import Release
from anabranch.graph.plan.plan import Plan, Segment
from anabranch.router.limits import RequestLimits
from anabranch.serve.attachment import HOME_NODE
from anabranch.serve.replicas.base import StartError
from anabranch.serve.sockets import FOLDER
from anabranch.serve.workers.launcher import FORK
from anabranch.specs.models import Placement, Resources, Scaling
from anabranch.specs.units import Size
from tests.control.nodes.machines import node

DIED = "The deployment failed to start 1 times in a row. Error:\nActorDiedError()"


def application(
    status: str = "RUNNING", message: str = "", revision: int | None = None, **deployments: str
) -> dict[str, Any]:
    variables = {} if revision is None else {REVISION_VARIABLE: str(revision)}
    options = {"ray_actor_options": {"runtime_env": {"env_vars": variables}}}
    return {
        "status": ApplicationStatus(status),
        "message": message,
        "deployments": {
            name: {"message": text, "deployment_config": options, "replicas": []}
            for name, text in deployments.items()
        },
    }


def test_applications_are_sorted_by_graph() -> None:
    observed = observe(
        {
            "anabranch.gateway": application(gateway=""),
            "digits": application(revision=3, router=""),
            "digits.r3": application("DEPLOYING", net=""),
            "digits.r4.head": application("DEPLOY_FAILED", "it failed", head=""),
            "iris": application("NOT_STARTED", router=""),
            "wine": application(router=""),
        }
    )
    assert observed == {
        "digits": {
            "digits": App("running", 3),
            "digits.r3": App("deploying", 3),
            "digits.r4.head": App("failed", 4, "it failed"),
        },
        "wine": {"wine": App("running", None)},
    }


@pytest.mark.parametrize(
    ("status", "states", "is_starting"),
    [
        ("DEPLOYING", ["RUNNING"], True),
        ("DEPLOYING", ["RUNNING", "STARTING"], True),
        ("DEPLOYING", ["RUNNING", "STARTING", "STOPPING"], True),
        ("DEPLOYING", ["RUNNING", "STOPPING"], False),
        ("RUNNING", ["RUNNING", "STARTING"], True),
        ("RUNNING", ["RUNNING"], False),
    ],
)
def test_a_router_starts_until_serve_takes_it_for_running(
    status: str, states: list[str], is_starting: bool
) -> None:
    router, segments = application(status, router=""), application(status, net="")
    for one in (router["deployments"]["router"], segments["deployments"]["net"]):
        one["replicas"] = [{"state": state} for state in states]
    found = observe({"digits": router, "digits.r1": segments})["digits"]
    assert {name: app.is_starting for name, app in found.items()} == {
        "digits": is_starting, "digits.r1": False,
    }  # fmt: skip


def test_reason_is_what_the_replica_said() -> None:
    error = StartError("node 'net': no file \"a\"\nsecond line ü")
    text = f"The deployment failed.\nTraceback\n  {error!s}\nStartError: {error}\n"
    found = reason(application(router=text, net="other"))
    assert found == "node 'net': no file \"a\"\nsecond line ü"


@pytest.mark.parametrize(
    ("deployment", "text", "expected"),
    [
        ("net", DIED, "segment 'net': its process died while it started; see its log"),
        ("router", DIED, "segment 'head': its process died while it started; see its log"),
        ("net", "Waiting\nfor a GPU\n", "segment 'net': for a GPU"),
        ("net", "", "the app's own"),
    ],
)
def test_reason_where_the_replica_said_nothing(deployment: str, text: str, expected: str) -> None:
    assert reason(application(message="the app's own", **{deployment: text})) == expected


SMALL = {"CPU": 4.0, "node:10.0.0.1": 1.0}
LARGE = {"CPU": 1.0, "GPU": 1.0, "node:10.0.0.2": 1.0}
MACHINES = ClusterLook(
    (
        node("small", address="10.0.0.1", total=SMALL, available=SMALL, labels={"zone": "north"}),
        node("large", address="10.0.0.2", total=LARGE, available=LARGE, labels={"zone": "south"}),
    )
)


def segment(
    resources: Resources | None = None, replicas: int | None = None, **placement: Any
) -> Segment:
    scaling = None if replicas is None else Scaling(replicas=replicas)
    return Segment("net", ("a", "b"), resources, scaling, Placement(**placement))


@pytest.mark.parametrize(
    "wanted",
    [
        segment(),
        segment(Resources(cpu=4)),
        segment(Resources(gpu=0.5), labels={"zone": "in(north, south)"}),
        segment(Resources(gpu=1), node_affinity="large"),
        segment(node_affinity="10.0.0.1"),
        segment(node_affinity=b"large".hex()),
        segment(replicas=2, spread="node"),
        segment(replicas=9),
    ],
)
def test_what_machines_have_can_be_placed(wanted: Segment) -> None:
    assert unplaceable(wanted, MACHINES) == ""


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (segment(Resources(cpu=8)), "asks for 8 CPU, which no machine has; small (10.0.0.1) has"),
        (segment(Resources(custom={"fpga": 1})), "asks for 1 fpga, which no machine has"),
        (segment(labels={"zone": "west"}), "asks for a machine with zone: west, which no machine"),
        (
            segment(Resources(gpu=1), node_affinity="small"),
            "asks for 1 GPU, the machine at 10.0.0.1, which no machine has",
        ),
        (segment(replicas=3, spread="node"), "asks for 3 machines for its 3 replicas"),
    ],
)
def test_what_no_machine_has_is_named_unless_others_may_come(
    wanted: Segment, expected: str
) -> None:
    assert unplaceable(wanted, MACHINES).startswith(f"segment 'net' (nodes a, b) {expected}")
    assert unplaceable(wanted, replace(MACHINES, may_grow=True)) == ""


@pytest.mark.parametrize("may_grow", [True, False])
def test_a_machine_that_is_called_by_its_name_must_be_there(may_grow: bool) -> None:
    assert unplaceable(segment(node_affinity="other"), replace(MACHINES, may_grow=may_grow)) == (
        "segment 'net': no machine of the engine is 'other'; there are: large, small "
        "(`node_affinity`)"
    )


@pytest.mark.parametrize(
    ("loopback", "placement", "most"),
    [("1", {}, None), ("0", {}, 100), ("1", {"spread": "node"}, 1), ("0", {"spread": "node"}, 1)],
)
def test_replicas_take_machines_in_turn_where_there_may_be_several(
    monkeypatch: pytest.MonkeyPatch, loopback: str, placement: dict[str, Any], most: int | None
) -> None:
    targets: list[serve.RunTarget] = []
    monkeypatch.setattr(serve, "run_many", lambda found, **options: targets.extend(found))
    monkeypatch.setenv(LOOPBACK, loopback)
    plan = Plan("g", {}, {}, {}, {}, (Segment("head", ()), segment(**placement)), 0, 1.0)
    start("segments", Release("g", 7, "graph.yaml", plan, {}), RequestLimits())
    (target,) = targets
    found = target.target._bound_deployment._replica_config
    assert found.max_replicas_per_node == most


@pytest.mark.parametrize(
    ("wanted", "forked"),
    [
        (None, True),
        (Resources(cpu=1), True),
        (Resources(memory=Size.parse("1GiB")), True),
        (Resources(cpu=1.5), False),
        (Resources(gpu=0.5), False),
    ],
)
def test_what_needs_more_threads_or_a_gpu_is_not_forked(
    wanted: Resources | None, forked: bool
) -> None:
    plan = Plan("g", {}, {}, {}, {}, (), 0, 1.0)
    release = Release("g", 7, "graph.yaml", plan, {"working_dir": "file:///b.zip"})
    found = release.environment(Segment("net", ("a",), wanted))
    assert found["working_dir"] == "file:///b.zip"
    assert found["env_vars"][REVISION_VARIABLE] == "7"
    assert (FORK in found["env_vars"]) is forked


class OthersServe:
    """Serve as its client tells of it, with applications of others."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def get_serve_details(self) -> dict[str, Any]:
        names = "g", "g.r7", "anabranch.g", "anabranch.g.r7", "anabranch.anabranch.gateway"
        return {"applications": {name: {"name": name} for name in names}}

    def delete_apps(self, names: list[str], blocking: bool) -> None:
        assert not blocking
        self.deleted += names


def test_on_a_ray_of_somebody_else_their_applications_are_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A graph may have the name of one of theirs."""
    others, targets = OthersServe(), list[serve.RunTarget]()
    monkeypatch.setenv(HOME_NODE, "ab12")
    monkeypatch.setattr(serving, "_client", lambda: others)
    monkeypatch.setattr(serve, "run_many", lambda found, **options: targets.extend(found))
    assert set(serving.details()) == {"g", "g.r7", "anabranch.gateway"}
    plan = Plan("g", {}, {}, {}, {}, (Segment("head", ()), Segment("net", ("a",))), 0, 1.0)
    release = Release("g", 7, "graph.yaml", plan, {})
    start("segments", release, RequestLimits())
    serving.start_application("anabranch.gateway", lambda: targets[0].target)
    serving.delete("g")
    assert [one.name for one in targets] == ["anabranch.g.r7", "anabranch.anabranch.gateway"]
    assert others.deleted == ["anabranch.g"]
    assert release.environment(plan.segments[0])["env_vars"][HOME_NODE] == "ab12"


def test_many_that_start_at_once_do_not_get_into_each_others_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dumps = config.cloudpickle.dumps
    monkeypatch.setattr(serve, "run_many", lambda targets, **options: None)

    def slow_dumps(*given: Any) -> bytes:
        time.sleep(0.01)  # others get their turn while a module is registered
        return bytes(dumps(*given))

    monkeypatch.setattr(config.cloudpickle, "dumps", slow_dumps)
    plan = Plan("g", {}, {}, {}, {}, (Segment("head", ()), Segment("net", ("a",))), 0, 1.0)
    release = Release("g", 7, "graph.yaml", plan, {})
    with ThreadPoolExecutor(8) as threads:
        for begun in [
            threads.submit(start, "segments", release, RequestLimits()) for _ in range(16)
        ]:
            begun.result(60)


def test_a_graph_s_own_port_that_something_else_has_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setattr(serving, "_PORT_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        plan = Plan("g", {}, {}, {}, {}, (), 0, 1.0, port=port)
        expected = f"spec.serving.port: cannot listen on port {port} of 127.0.0.1: "
        assert taken(plan).startswith(f"{expected}Address already in use")
    assert taken(plan) == ""
    assert taken(replace(plan, port=None)) == ""
