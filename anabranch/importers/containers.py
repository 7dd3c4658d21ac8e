"""Containers of pods: environment, secrets and resources of a node, and what only a pod has."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from anabranch.importers.fields import Fields
from anabranch.importers.quantities import quantity
from anabranch.specs.models import KUBERNETES_KEY, KUBERNETES_NAME, VARIABLE
from anabranch.specs.units import Size

_NO_IMAGE = "nodes run in the engine's processes, not from an image"
_PROBES = "the engine asks `check_health` of the component every 5 seconds"
NO_COUNTERPART = {
    "args": _NO_IMAGE,
    "command": _NO_IMAGE,
    "imagePullPolicy": _NO_IMAGE,
    "workingDir": "paths of a component start from its own file",
    "ports": "nodes are called within the engine, and need no port",
    "lifecycle": "`load` and `unload` of the component are called at the start and the end",
    "livenessProbe": _PROBES,
    "readinessProbe": _PROBES,
    "startupProbe": _PROBES,
    "securityContext": "the engine's processes have one user, of the image or service that runs it",
    "terminationMessagePath": "`anabranch logs` has what a component prints",
    "terminationMessagePolicy": "`anabranch logs` has what a component prints",
    "volumeMounts": "put the files beside `graph.yaml`, or mount them where the engine runs",
    "volumeDevices": "mount the device where the engine runs",
    "stdin": _NO_IMAGE,
    "stdinOnce": _NO_IMAGE,
    "tty": _NO_IMAGE,
    "resizePolicy": "a change of `resources` is a new revision",
}
"""Fields of containers that have no counterpart, each with the reason."""
_MACHINES = "machines are chosen by labels in Ray: `placement.labels`"
_ENGINE = "processes of the engine run where and as the engine does"
_OF_PODS = (
    "activeDeadlineSeconds", "dnsConfig", "dnsPolicy", "enableServiceLinks", "ephemeralContainers",
    "hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostUsers", "hostname", "os", "overhead",
    "preemptionPolicy", "priority", "priorityClassName", "readinessGates", "runtimeClassName",
    "schedulingGates", "securityContext", "setHostnameAsFQDN", "shareProcessNamespace", "subdomain",
)  # fmt: skip
POD_FIELDS = {
    **dict.fromkeys(_OF_PODS, _ENGINE),
    **dict.fromkeys(("affinity", "tolerations", "schedulerName"), _MACHINES),
    "nodeName": "a machine's name in Kubernetes; `placement.node_affinity` takes the one in Ray",
    "topologySpreadConstraints": "`placement.spread` spreads replicas over machines",
    "imagePullSecrets": _NO_IMAGE,
    "volumes": "put files beside `graph.yaml`, or mount what nodes need where the engine runs",
    "initContainers": "do it before the engine starts, or in `load` of a component",
    "restartPolicy": "the engine replaces processes that end",
    "terminationGracePeriodSeconds": "a replica ends once its requests are answered",
    "automountServiceAccountToken": "processes of the engine have no token of Kubernetes",
    "serviceAccount": "nodes do not call Kubernetes",
    "resourceClaims": "devices are `resources.gpu`, `accelerator` or `custom`",
}
"""Fields of pods that have no counterpart, each with the reason."""
_RESERVED = ("ANABRANCH_", "RAY_", "PYTHON", "LD_")
"""Beginnings of variables that no node may set."""
_GPU = "nvidia.com/gpu"
_MOST = {"cpu": 4096, _GPU: 64, "memory": 2**60}
"""The most of each that a node may ask for."""


def environment(fields: Fields) -> dict[str, Any]:
    """Return ``env`` and ``secrets`` of the node of a container."""
    env: dict[str, str] = {}
    secrets: dict[str, Any] = {}
    for entry in fields.each("env"):
        name = entry.required("name")
        if name.startswith(_RESERVED) or not re.fullmatch(VARIABLE, name):
            entry.left_out(f"no node may set `{name}`")
        elif entry.has("valueFrom"):
            _from_elsewhere(entry, name, secrets)
        else:
            env[name] = entry.text("value")
            entry.same(f"`env` of the node: {name}")
    for entry in fields.each("envFrom"):
        entry.to_do("name each variable in the node's `env` or `secrets`")
    return ({"env": env} if env else {}) | ({"secrets": secrets} if secrets else {})


def _from_elsewhere(entry: Fields, name: str, secrets: dict[str, Any]) -> None:
    origin = entry.within("valueFrom")
    secret = origin.within("secretKeyRef")
    where = {"name": secret.text("name"), "key": secret.text("key")}
    if re.fullmatch(KUBERNETES_NAME, where["name"]) and re.fullmatch(KUBERNETES_KEY, where["key"]):
        secrets[name] = {"kubernetes": where}
        entry.reworded(f"`secrets` of the node: {name}")
    elif origin.has("configMapKeyRef"):
        entry.to_do(f"write the value of the config map into the node's `env` as {name}")
    else:
        entry.left_out("a pod's own fields are not there; a component reads `context` instead")


def resources(fields: Fields) -> dict[str, Any]:
    """Return ``resources`` of the node of a container."""
    asked = fields.within("resources")
    requests, limits = asked.within("requests"), asked.within("limits")
    found: dict[str, Any] = {}
    for name in {**requests.data, **limits.data}:
        first = requests if name in requests.data else limits
        _resource(first, name, found)
        if first is requests and name in limits.data:
            _limit(limits, name, requests.data[name])
    asked.leave_out({"claims": "ask for a custom resource of Ray in `resources.custom`"})
    asked.finish()
    return {"resources": found} if found else {}


def _resource(fields: Fields, name: str, found: dict[str, Any]) -> None:
    amount = read_quantity(fields, name)
    if amount is None:
        return
    if name in ("cpu", _GPU):
        ours = "cpu" if name == "cpu" else "gpu"
        found[ours] = _rounded(amount)
        fields.same(f"`resources.{ours}`, which Ray reserves", name)
    elif name == "memory":
        found["memory"] = str(Size(int(amount)))
        fields.same("`resources.memory`, which Ray reserves", name)
    else:
        fields.left_out("ask for it as a custom resource of Ray, in `resources.custom`", name)


def _limit(limits: Fields, name: str, request: object) -> None:
    if limits.data[name] == request:
        limits.same("the same as what is asked for", name)
    else:
        limits.left_out("Ray reserves what `requests` asks for, and sets no further limit", name)


def read_quantity(fields: Fields, name: str) -> Fraction | None:
    """Return a quantity of a map of resources; None, with a mistake, for none or for too much."""
    fields.asked.add(name)
    try:
        amount = quantity(fields.data[name])
    except ValueError as error:
        fields.mistake(str(error), name)
        return None
    if name in _MOST and amount > _MOST[name]:
        fields.mistake(f"is over the limit of {_MOST[name]}", name)
        return None
    return amount


def _rounded(amount: Fraction) -> float:
    return int(amount) if amount.denominator == 1 else round(float(amount), 4)
