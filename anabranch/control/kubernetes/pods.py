"""Pods of an engine: how the head and the workers start, and the graphs are deployed.

All run as an ordinary user on a file system that they cannot write to, but for volumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from anabranch.control.kubernetes.groups import LEAST_CPU, LEAST_MEMORY, WorkerGroup

Json = dict[str, Any]
HTTP, GRPC = 8000, 9000
HOME = "/data/home"
"""The engine's home: in a folder of the volume, so that it has a mode of its own."""
GRAPHS = "/graphs"
"""Folder of the graphs' files, by name of the graph."""
_USER = 1000
_SECRETS = "/run/anabranch"
_TOKEN = "/data/token"
_STOP_S = 120
"""Seconds that the head may take to stop, and a worker to move its replicas for a minute."""
_ENVIRONMENT = (
    {"name": "ANABRANCH_HOME", "value": HOME},
    {"name": "HOME", "value": "/data"},
)
_SHM = 2**30
"""Bytes of shared memory, in which Ray keeps its objects; a part of the pod's memory."""
_OVERHEAD = 2 * _SHM
"""Bytes of the pod's memory that no replica may reserve: Ray's processes and its objects."""
_WAIT = "600s"
"""Longest wait for a revision to come up, which may need nodes that are yet to be started."""
_LOCKED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True)
class Installation:
    """What all manifests have in common: ``name`` is that of the cluster and of its secret."""

    name: str
    image: str
    namespace: str = ""

    @property
    def head(self) -> str:
        """The head's host name, which KubeRay gives to its service."""
        return f"{self.name}-head-svc"

    def metadata(self, name: str = "") -> Json:
        """Return the metadata of an object; ``name`` follows the cluster's."""
        found: Json = {"name": f"{self.name}-{name}" if name else self.name}
        if self.namespace:
            found["namespace"] = self.namespace
        return found | {"labels": {"app.kubernetes.io/part-of": self.name}}

    def container(self, name: str, command: Sequence[str], **fields: Any) -> Json:
        """Return a container that writes to volumes alone."""
        fields["volumeMounts"] = [_mount("tmp", "/tmp"), *fields.get("volumeMounts", ())]
        found = {"name": name, "image": self.image, "command": list(command)}
        return {**found, **fields, "securityContext": _LOCKED}


def head_pod(of: Installation, claim: str) -> Json:
    """Return the template of the head; its home is on the volume of the claim ``claim``."""
    store = {"name": "ANABRANCH_STORE", "valueFrom": {"secretKeyRef": _key(of, "store")}}
    container = of.container(
        "ray-head",
        ["anabranch", "up", "--foreground", "--host", "0.0.0.0"],
        env=[*_ENVIRONMENT, store],
        **_serving(_resources(LEAST_CPU, LEAST_MEMORY, 0)),
    )
    data = {"persistentVolumeClaim": {"claimName": claim}}
    tokens = {"token": f"{HOME}/token", "auth_token": f"{HOME}/ray-token"}
    return _serving_template(of, container, data, tokens)


def worker_pod(of: Installation, group: WorkerGroup) -> Json:
    """Return the template of a worker, which joins the head."""
    has = {**group.amounts, "memory": f"{group.memory}B"}
    reserved = ",".join(f"{name}={size}" for name, size in has.items() if size)
    command = ["anabranch", "join", f"http://{of.head}:{HTTP}", "--token-file", _TOKEN]
    if group.labels:
        command += ["--labels", ",".join("=".join(pair) for pair in group.labels.items())]
    container = of.container(
        "ray-worker",
        [*command, "--foreground", "--resources", reserved],
        env=_ENVIRONMENT,
        **_serving(_resources(group.cpu, group.memory, group.gpu)),
    )
    template = _serving_template(of, container, {"emptyDir": {}}, {"token": _TOKEN})
    template["spec"] |= _placed(of, group)
    return template


def _placed(of: Installation, group: WorkerGroup) -> Json:
    """Return where the pods of a group are placed: on nodes with its labels, on many of them."""
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"ray.io/cluster": of.name, "ray.io/group": group.name}},
    }
    selector = {"nodeSelector": dict(group.labels)} if group.labels else {}
    return {**selector, "topologySpreadConstraints": [spread]}


def deploying_pod(
    of: Installation, specs: Sequence[str], folders: Mapping[str, Json] = MappingProxyType({})
) -> Json:
    """Return the template of a pod that deploys specs, by their paths in ``GRAPHS``, and ends.

    ``folders`` are the sources of volumes with files, by such paths; none where the image has the
    files.
    """
    place = f"/tmp{GRAPHS}" if folders else GRAPHS
    script = f'for file; do anabranch deploy "$file" --author kubernetes --timeout {_WAIT}; done'
    if folders:  # folders in volumes of ConfigMaps are links, and no bundle follows those
        script = f"cp -RL {GRAPHS} /tmp; {script}"
    volumes = [{"name": f"graph-{at}", **one} for at, one in enumerate(folders.values())]
    key = {"name": "ANABRANCH_TOKEN", "valueFrom": {"secretKeyRef": _key(of, "token")}}
    container = of.container(
        "deploy",
        ["sh", "-ec", script, "deploy", *(f"{place}/{one}" for one in specs)],
        env=[{"name": "ANABRANCH_URL", "value": f"http://{of.head}:{HTTP}"}, key],
        volumeMounts=[_mount(f"graph-{at}", f"{GRAPHS}/{path}") for at, path in enumerate(folders)],
    )
    template = _template(of, container, volumes)
    template["spec"]["restartPolicy"] = "OnFailure"
    return template


def _serving(resources: Json) -> Json:
    """Return what every machine of an engine has.

    All probes are there, for KubeRay would add some that ask ports which Ray does not have here.
    """
    return {
        "resources": resources,
        "volumeMounts": [_mount("data", "/data"), _mount("shm", "/dev/shm")],
        "ports": [
            {"name": "http", "containerPort": HTTP},
            {"name": "grpc", "containerPort": GRPC},
        ],
        "startupProbe": _probe("live", 5, 60),
        "livenessProbe": _probe("live", 10, 12),
        "readinessProbe": _probe("ready", 5, 2),
    }


def _probe(what: str, period: int, failures: int) -> Json:
    return {
        "httpGet": {"path": f"/v2/health/{what}", "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _resources(cpu: int, memory: int, gpu: int) -> Json:
    sizes = {"cpu": str(cpu), "memory": f"{(memory + _OVERHEAD) // 2**20}Mi"}
    if gpu:
        sizes["nvidia.com/gpu"] = str(gpu)
    return {"requests": sizes, "limits": dict(sizes)}


def _serving_template(
    of: Installation, container: Json, data: Json, tokens: Mapping[str, str]
) -> Json:
    """Return the template of a machine of the engine.

    ``tokens`` are files by keys of the secret; the secret's own files are readable to the pod's
    group, and the engine takes none of those.
    """
    copies = (f"cp {_SECRETS}/{key} {file}" for key, file in tokens.items())
    first = of.container(
        "tokens",
        ["sh", "-c", " && ".join([f"umask 077 && mkdir -p {HOME}", *copies])],
        resources=container["resources"],
        volumeMounts=[_mount("data", "/data"), _mount("secret", _SECRETS, readOnly=True)],
    )
    items = [{"key": key, "path": key} for key in tokens]
    volumes = [
        {"name": "data", **data},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{_SHM // 2**20}Mi"}},
        {"name": "secret", "secret": {"secretName": of.name, "items": items}},
    ]
    found = _template(of, container, volumes)
    found["spec"] |= {"initContainers": [first], "terminationGracePeriodSeconds": _STOP_S}
    return found


def _template(of: Installation, container: Json, volumes: list[Json]) -> Json:
    """Return a pod template; services of the namespace set no variables in it."""
    spec: Json = {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
    }
    return {"metadata": {"labels": of.metadata()["labels"]}, "spec": spec}


def _mount(name: str, path: str, **fields: Any) -> Json:
    return {"name": name, "mountPath": path, **fields}


def _key(of: Installation, key: str) -> Json:
    return {"name": of.name, "key": key}
