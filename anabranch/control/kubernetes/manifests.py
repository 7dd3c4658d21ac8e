"""Manifests of an engine with its graphs: what KubeRay, Kubernetes and Prometheus are told.

A RayCluster, not a RayService: that one has KubeRay deploy Serve applications and replace whole
clusters, and the engine deploys graphs itself, revision by revision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from anabranch.control.engine.ports import first_gcs_port
from anabranch.control.kubernetes.folders import GraphFolder, config_data, volume
from anabranch.control.kubernetes.groups import WorkerGroup
from anabranch.control.kubernetes.pods import (
    GRAPHS,
    GRPC,
    HOME,
    HTTP,
    Installation,
    Json,
    deploying_pod,
    head_pod,
    worker_pod,
)

RAY = "2.60.0"
"""Oldest Ray that anabranch runs on; KubeRay asks whether it knows tokens."""
_VOLUME = "10Gi"
"""Size of the head's volume, which has bundles, logs and environments."""
_KEPT_S = 3600
"""How long a job that has ended can be looked at."""


def cluster(of: Installation, groups: Iterable[WorkerGroup]) -> list[Json]:
    """Return the RayCluster, and the claim of the head's volume."""
    claim: Json = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": of.metadata("home"),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": _VOLUME}},
        },
    }
    # KubeRay's own container waits for this port of the head before a worker starts.
    start = {"port": str(first_gcs_port(HOME))}
    return [
        claim,
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {
                **of.metadata(),
                # The engine starts Ray itself, with its own launcher and flags.
                "annotations": {"ray.io/overwrite-container-cmd": "true"},
            },
            "spec": {
                "rayVersion": RAY,
                "authOptions": {"mode": "token", "secretName": of.name},
                "headGroupSpec": {
                    "rayStartParams": start,
                    "template": head_pod(of, claim["metadata"]["name"]),
                },
                "workerGroupSpecs": [_workers(of, one) for one in groups],
            },
        },
    ]


def services(of: Installation) -> list[Json]:
    """Return the service of all pods that take requests, and the rule that closes Ray's ports."""
    every = {"ray.io/cluster": of.name}
    ports = [
        {"name": "http", "port": HTTP, "targetPort": "http", "appProtocol": "http"},
        {
            "name": "grpc",
            "port": GRPC,
            "targetPort": "grpc",
            "appProtocol": "kubernetes.io/h2c",
        },
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": of.metadata(),
        "spec": {"selector": every, "ports": ports},
    }
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": of.metadata(),
        "spec": {
            "podSelector": {"matchLabels": every},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": every}}]},
                {"ports": [{"port": "http"}, {"port": "grpc"}]},
            ],
        },
    }
    return [service, policy]


def pod_monitor(of: Installation) -> list[Json]:
    """Return what has Prometheus read the metrics of all machines, which the head's pod shows."""
    key = {"name": of.metadata("metrics")["name"], "key": "key"}
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": of.metadata(),
            "spec": {
                "selector": {
                    "matchLabels": {"ray.io/cluster": of.name, "ray.io/node-type": "head"}
                },
                "podMetricsEndpoints": [
                    {
                        "port": "http",
                        "path": "/metrics",
                        "authorization": {"type": "Bearer", "credentials": key},
                    }
                ],
            },
        }
    ]


def graphs(of: Installation, folders: Sequence[GraphFolder], layer: bool) -> list[Json]:
    """Return the job that deploys the graphs, and ConfigMaps of their files.

    With ``layer`` the image has the files. Raise TooLarge where a ConfigMap cannot hold them. The
    job is named after what it deploys, since Kubernetes changes no job.
    """
    maps = {} if layer else {one.graph: _config_map(of, one) for one in folders}
    sources = {
        one.graph: volume(one, maps[one.graph]["metadata"]["name"]) for one in folders if not layer
    }
    specs = [f"{one.graph}/{one.spec}" for one in folders]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": of.metadata(f"deploy-{_digest(of, folders)}"),
        "spec": {
            "backoffLimit": 20,
            "ttlSecondsAfterFinished": _KEPT_S,
            "template": deploying_pod(of, specs, sources),
        },
    }
    return [*maps.values(), job]


def layer_files(of: Installation, folders: Iterable[GraphFolder]) -> dict[str, bytes]:
    """Return the files of a folder from which an image with the graphs is built, by path."""
    found = {
        f"graphs/{one.graph}/{name}": content
        for one in folders
        for name, content in one.files.items()
    }
    text = f"ARG BASE=anabranch:{version('anabranch')}\nFROM $BASE\nCOPY graphs {GRAPHS}\n"
    return {"Dockerfile": text.encode(), **found}


def _workers(of: Installation, group: WorkerGroup) -> Json:
    return {
        "groupName": group.name,
        "replicas": group.replicas,
        "minReplicas": group.replicas,
        "maxReplicas": group.replicas,
        "rayStartParams": {},
        "template": worker_pod(of, group),
    }


def _config_map(of: Installation, folder: GraphFolder) -> Json:
    metadata = of.metadata(f"graph-{folder.graph.replace('/', '.')}")
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **config_data(folder)}


def _digest(of: Installation, folders: Iterable[GraphFolder]) -> str:
    """Return eight digits of a digest over what a job deploys, and with which image."""
    total = hashlib.sha256(of.image.encode())
    for folder in folders:
        for name, content in sorted(folder.files.items()):
            total.update(f"{folder.graph} {name} {len(content)}\n".encode() + content)
    return total.hexdigest()[:8]
