"""Manifests of an engine: what KubeRay must hear, and when a job is another one."""

from __future__ import annotations

import tomllib
from pathlib import Path

from anabranch.control.engine import ports
from anabranch.control.kubernetes import manifests
from anabranch.control.kubernetes.folders import GraphFolder
from anabranch.control.kubernetes.groups import WorkerGroup
from anabranch.control.kubernetes.pods import HOME, Installation

OF = Installation("shop", "image:1")


def folder(text: bytes) -> GraphFolder:
    return GraphFolder("shop", "graph.yaml", {"graph.yaml": text})


def test_kuberay_waits_for_the_port_that_the_head_takes() -> None:
    _, cluster = manifests.cluster(OF, [WorkerGroup("cpu", replicas=3)])
    start = cluster["spec"]["headGroupSpec"]["rayStartParams"]
    assert start == {"port": str(ports.first_gcs_port(HOME))}
    assert cluster["metadata"]["annotations"] == {"ray.io/overwrite-container-cmd": "true"}
    (group,) = cluster["spec"]["workerGroupSpecs"]
    assert group["minReplicas"] == group["replicas"] == group["maxReplicas"] == 3


def test_ray_is_the_oldest_that_the_package_takes() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    bounds = tomllib.loads(text)["project"]["dependencies"]
    (ray,) = (one for one in bounds if one.startswith("ray["))
    assert f">={manifests.RAY.removesuffix('.0')}," in ray


def test_a_job_has_another_name_when_it_deploys_something_else() -> None:
    def job(of: Installation, text: bytes) -> str:
        return str(manifests.graphs(of, [folder(text)], layer=True)[-1]["metadata"]["name"])

    names = {job(OF, b"one"), job(OF, b"two"), job(Installation("shop", "image:2"), b"one")}
    assert len(names) == 3
    assert job(OF, b"one") in names


def test_a_graph_of_a_namespace_has_a_config_map_and_a_folder() -> None:
    one = GraphFolder("team/shop", "graph.yaml", {"graph.yaml": b""})
    map_, job = manifests.graphs(OF, [one], layer=False)
    assert map_["metadata"]["name"] == "shop-graph-team.shop"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][-1] == "/tmp/graphs/team/shop/graph.yaml"
    assert container["volumeMounts"][1]["mountPath"] == "/graphs/team/shop"


def test_others_reach_nothing_but_http_and_grpc() -> None:
    _, policy = manifests.services(OF)
    own, others = policy["spec"]["ingress"]
    assert set(own) == {"from"}
    assert others == {"ports": [{"port": "http"}, {"port": "grpc"}]}
