"""Pods of an engine: unprivileged, with nothing to write to but volumes, and no secrets in them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from anabranch.control.kubernetes.groups import WorkerGroup
from anabranch.control.kubernetes.pods import (
    HOME,
    Installation,
    Json,
    deploying_pod,
    head_pod,
    worker_pod,
)
from anabranch.control.nodes.options import MachineOptions

OF = Installation("shop", "image:1")
PODS = {
    "head": head_pod(OF, "shop-home"),
    "worker": worker_pod(
        OF, WorkerGroup("gpu", 4, 2, 8 * 2**30, custom={"fpga": 1}, labels={"zone": "a", "b": "c"})
    ),
    "job": deploying_pod(OF, ["a/graph.yaml"], {"a": {"configMap": {"name": "map"}}}),
}


def containers(pod: Json) -> Iterator[Json]:
    yield from pod["spec"].get("initContainers", ())
    yield from pod["spec"]["containers"]


@pytest.mark.parametrize("name", PODS)
def test_no_container_is_privileged_or_writes_to_its_root(name: str) -> None:
    pod = PODS[name]
    user = pod["spec"]["securityContext"]
    assert user["runAsNonRoot"] and user["runAsUser"] == user["fsGroup"] == 1000
    for one in containers(pod):
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert "/tmp" in {mount["mountPath"] for mount in one["volumeMounts"]}
    assert pod["spec"]["automountServiceAccountToken"] is False
    # A service named anabranch would set ANABRANCH_PORT.
    assert pod["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("name", PODS)
def test_what_is_mounted_is_there(name: str) -> None:
    pod = PODS[name]
    volumes = [one["name"] for one in pod["spec"]["volumes"]]
    assert len(volumes) == len(set(volumes))
    mounted = {mount["name"] for one in containers(pod) for mount in one["volumeMounts"]}
    assert mounted == set(volumes)


def test_the_home_is_on_a_volume_with_tokens_of_the_secret() -> None:
    first, head = containers(PODS["head"])
    assert f"cp /run/anabranch/token {HOME}/token" in first["command"][2]
    assert f"cp /run/anabranch/auth_token {HOME}/ray-token" in first["command"][2]
    assert {"name": "ANABRANCH_HOME", "value": HOME} in head["env"]
    assert any(HOME.startswith(f"{one['mountPath']}/") for one in head["volumeMounts"])


def test_a_worker_has_a_token_file_that_nobody_else_reads_and_time_to_leave() -> None:
    first, worker = containers(PODS["worker"])
    assert first["command"][2].startswith("umask 077 && ")
    file = worker["command"][worker["command"].index("--token-file") + 1]
    assert first["command"][2].endswith(f"cp /run/anabranch/token {file}")
    assert PODS["worker"]["spec"]["terminationGracePeriodSeconds"] > 60


def test_every_probe_is_given_so_that_kuberay_adds_none() -> None:
    for name in ("head", "worker"):
        *_, one = containers(PODS[name])
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(one)


def test_a_worker_says_what_replicas_may_have_of_it() -> None:
    _, one = containers(PODS["worker"])
    assert one["command"][-1] == f"CPU=4,GPU=2,memory={8 * 2**30}B,fpga=1"
    assert one["resources"]["limits"] == {"cpu": "4", "memory": "10240Mi", "nvidia.com/gpu": "2"}


def test_a_worker_is_placed_by_the_labels_that_its_machine_has() -> None:
    _, one = containers(PODS["worker"])
    assert one["command"][one["command"].index("--labels") + 1] == "zone=a,b=c"
    assert PODS["worker"]["spec"]["nodeSelector"] == {"zone": "a", "b": "c"}
    (spread,) = PODS["worker"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"]["ray.io/group"] == "gpu"
    plain = worker_pod(OF, WorkerGroup("cpu"))
    assert "nodeSelector" not in plain["spec"]
    assert "--labels" not in plain["spec"]["containers"][0]["command"]


def test_join_takes_what_a_worker_says_of_itself() -> None:
    group = WorkerGroup("cpu", custom={"fpga": 1}, labels={"zone": "a"})
    (one,) = worker_pod(OF, group)["spec"]["containers"]
    said = dict(zip(one["command"], one["command"][1:], strict=False))
    found = MachineOptions(said["--labels"], said["--resources"]).arguments("m")
    assert json.loads(str(found["--resources"])) == {"fpga": 1.0}
    assert str(found["--labels"]).startswith("zone=a,")
