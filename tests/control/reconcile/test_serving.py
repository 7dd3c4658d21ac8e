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
from anabranch.serve.replicas.base import StartError
from anabranch.serve.sockets import FOLDER
from anabranch.serve.workers.launcher import FORK
from anabranch.specs.models import Resources
from anabranch.specs.units import Size

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


NODES = [{"CPU": 4.0, "memory": 2.0**30}, {"CPU": 1.0, "GPU": 1.0, "accelerator_type:T4": 1.0}]


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        Resources(cpu=4),
        Resources(gpu=0.5),
        Resources(cpu=1, gpu=1, accelerator="T4"),
        Resources(memory=Size.parse("1GiB")),
        Resources(cpu=0),
    ],
)
def test_what_one_machine_has_can_be_placed(wanted: Resources | None) -> None:
    assert unplaceable(Segment("net", ("a", "b"), wanted), NODES) == ""


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Resources(cpu=8), "asks for 8 CPU; the most that any machine of the cluster has is 4 CPU"),
        (Resources(cpu=2, gpu=1), "asks for 2 CPU, 1 GPU; "),
        (Resources(accelerator="H100"), "asks for 0.001 accelerator_type:H100"),
    ],
)
def test_what_no_machine_has_is_named(wanted: Resources, expected: str) -> None:
    found = unplaceable(Segment("net", ("a", "b"), wanted), NODES)
    assert found.startswith("segment 'net' (nodes a, b) ")
    assert expected in found


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
