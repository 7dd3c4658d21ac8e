"""Pods of a predictor: ``componentSpecs``, their containers, and replicas of their nodes.

The first pod has Seldon's engine in it, unless the engine has a pod of its own; its nodes run in
the graph's routers. The nodes of any other pod that says how many replicas it has are a segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anabranch.importers.containers import POD_FIELDS
from anabranch.importers.fields import Fields
from anabranch.importers.seldon_v1.pods.containers import Container, read_container
from anabranch.importers.seldon_v1.pods.scaling import fixed, pod_scaling
from anabranch.importers.seldon_v1.units.tree import PredictiveUnit

WITH = "with"
"""Field of ``placement`` that ties nodes; in settings it names a unit."""
_REASONS = {
    **POD_FIELDS,
    "nodeSelector": "`placement.labels` of nodes chooses machines by labels of Ray",
    "serviceAccountName": "credentials come from the environment of `anabranch up`",
}


@dataclass(frozen=True)
class Pods:
    """The pods of a predictor."""

    containers: Mapping[str, Container]
    """Containers by name."""
    engine: dict[str, Any] | None
    """``scaling`` of the graph; None where nothing says it."""
    scaling: Sequence[dict[str, Any] | None]
    """``scaling`` of each pod."""
    separate: bool
    """Whether the engine has a pod of its own."""

    def add_scaling(
        self, settings: dict[str, dict[str, Any]], units: Sequence[PredictiveUnit]
    ) -> None:
        """Give the nodes of each pod its number of replicas, where they have a segment."""
        first: dict[int, str] = {}
        for unit in units:
            container = self.containers.get(unit.name)
            if container is None or unit.name not in settings:
                continue
            own, scaling = settings[unit.name], self.scaling[container.pod]
            in_head = container.pod == 0 and not self.separate
            if scaling is None or (in_head and "resources" not in own):
                continue
            if container.pod in first and "resources" not in own:
                own["placement"] = {WITH: first[container.pod]}
                continue
            own["scaling"] = dict(scaling)
            first.setdefault(container.pod, unit.name)


def read_pods(predictor: Fields, spec: Fields, separate: bool) -> Pods:
    """Return the pods of a predictor, and note what only a pod has."""
    pods = predictor.each("componentSpecs")
    containers: dict[str, Container] = {}
    scaling = []
    for index, pod in enumerate(pods):
        scaling.append(pod_scaling(pod, [predictor, spec]))
        _read_pod(pod, index, containers)
    own = fixed(predictor.within("svcOrchSpec")) if separate else None
    engine = own if separate else next(iter(scaling), None)
    return Pods(containers, engine, scaling, separate)


def _read_pod(pod: Fields, index: int, containers: dict[str, Container]) -> None:
    if pod.has("replicas"):
        pod.same("`scaling.replicas`", "replicas")
    inner = pod.within("spec")
    if not inner.has("containers"):
        pod.reworded("has no container, and so no pod of its own in Seldon either")
    for fields in inner.each("containers"):
        container = read_container(fields, index)
        if container.name in containers:
            fields.mistake("another container of the predictor has this name", "name")
        containers[container.name] = container
    inner.leave_out(_REASONS)
    inner.finish(_REASONS)
    pod.leave_out(
        {
            "metadata": "labels and annotations are those of a pod, and there is none",
            "pdbSpec": "a machine is drained by `anabranch nodes drain`, which loses no request",
        }
    )
    pod.finish()
