"""Fields of pods: the machines of a node, and notes on what only a pod has."""

from __future__ import annotations

import re
from typing import Any

from anabranch.importers.fields import Fields
from anabranch.specs.models import LABEL_KEY, LABEL_SELECTOR

_MACHINES = "machines are chosen by labels in Ray: `placement.labels`"
_ENGINE = "processes of the engine run where and as the engine does"
_POD = {
    "affinity": _MACHINES,
    "tolerations": _MACHINES,
    "nodeName": "a machine's name in Kubernetes; `placement.node_affinity` takes the one in Ray",
    "topologySpreadConstraints": "`placement.spread` spreads replicas over machines",
    "schedulerName": _MACHINES,
    "runtimeClassName": _ENGINE,
    "imagePullSecrets": "nodes run in the engine's processes, not from an image",
    "volumes": "mount what nodes need where the engine runs",
    "initContainers": "do it before the engine starts, or in `load` of a component",
    "ephemeralContainers": _ENGINE,
    "restartPolicy": "the engine replaces processes that end",
    "terminationGracePeriodSeconds": "a replica ends once its requests are answered",
    "activeDeadlineSeconds": _ENGINE,
    "dnsPolicy": _ENGINE,
    "dnsConfig": _ENGINE,
    "hostNetwork": _ENGINE,
    "hostPID": _ENGINE,
    "hostIPC": _ENGINE,
    "hostAliases": _ENGINE,
    "hostname": _ENGINE,
    "hostUsers": _ENGINE,
    "subdomain": _ENGINE,
    "securityContext": _ENGINE,
    "automountServiceAccountToken": "processes of the engine have no token of Kubernetes",
    "serviceAccount": "nodes do not call Kubernetes",
    "shareProcessNamespace": _ENGINE,
    "enableServiceLinks": _ENGINE,
    "preemptionPolicy": _ENGINE,
    "priority": _ENGINE,
    "priorityClassName": _ENGINE,
    "readinessGates": _ENGINE,
    "overhead": _ENGINE,
    "os": _ENGINE,
    "resourceClaims": "devices are `resources.gpu`, `accelerator` or `custom`",
    "schedulingGates": _ENGINE,
    "setHostnameAsFQDN": _ENGINE,
}


def import_placement(pod: Fields) -> dict[str, Any]:
    """Return the placement of a pod's node; note its other fields, but for its containers."""
    labels = {}
    for key, value in pod.texts("nodeSelector").items():
        if re.fullmatch(LABEL_KEY, key) and re.fullmatch(LABEL_SELECTOR, value):
            labels[key] = value
            pod.to_do(f"give machines the label in Ray: {key}={value}", "nodeSelector", key)
        else:
            pod.left_out("no label of a machine may be so", "nodeSelector", key)
    pod.leave_out(_POD)
    return {"labels": labels} if labels else {}
