"""The schemas of Kubernetes' objects, from the CRDs in ``tests/crds``.

An API server leaves out fields that a schema does not know. Here they are mistakes. Kinds of
Kubernetes itself are checked by the parts of them that KubeRay's CRD has: pod templates, services,
rules of network policies, claims of volumes.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

Json = dict[str, Any]
CRDS = Path(__file__).parents[2] / "crds"


def mistakes(document: Json) -> list[str]:
    """Return what is wrong with an object; nothing if it is valid."""
    schema = _SCHEMAS[document["kind"]]()
    found = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]


def strict(schema: Any) -> Any:
    """Return a structural schema as JSON Schema that knows all fields there are."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(one) for key, one in schema.items() if key not in ("format", "default")}
    if schema.get("x-kubernetes-int-or-string"):
        found = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    elif "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found["properties"] = {name: strict(one) for name, one in schema["properties"].items()}
        found["additionalProperties"] = False
    return {"anyOf": [found, {"type": "null"}]} if schema.get("nullable") else found


@cache
def crd(name: str) -> Json:
    """Return the schema of the newest version of a kind."""
    text = gzip.decompress((CRDS / f"{name}.yaml.gz").read_bytes())
    versions = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]
    (stored,) = (one for one in versions if one["storage"])
    found = strict(stored["schema"]["openAPIV3Schema"])
    found["properties"]["metadata"] = METADATA
    return found


def part(*path: str) -> Json:
    """Return the schema of a field of a RayCluster's spec."""
    found = crd("rayclusters")["properties"]["spec"]
    for name in path:
        found = found["items"] if name == "*" else found["properties"][name]
    return found


def of_kind(version: str, spec: Mapping[str, Any], **others: Any) -> Json:
    """Return the schema of an object of Kubernetes itself."""
    named = {"apiVersion": {"const": version}, "kind": {}, "metadata": METADATA, **others}
    properties = {**named, **({"spec": spec} if spec else {})}
    return {
        "properties": properties,
        "required": ["apiVersion", "kind", "metadata", *(["spec"] if spec else [])],
        "additionalProperties": False,
    }


def fields(**properties: Any) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
_DNS = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
METADATA = {
    **fields(
        name={"type": "string", "pattern": _DNS, "maxLength": 253},
        namespace={"type": "string", "pattern": _DNS, "maxLength": 63},
        labels=_LABELS,
        annotations=_LABELS,
    ),
    "required": ["name"],
}
_TEXTS = {"type": "object", "propertyNames": {"pattern": r"^[-._a-zA-Z0-9]{1,253}$"},
          "additionalProperties": {"type": "string"}}  # fmt: skip
_POD = ("headGroupSpec", "template")


def _job() -> Json:
    count = {"type": "integer", "minimum": 0}
    spec = fields(backoffLimit=count, ttlSecondsAfterFinished=count, template=part(*_POD))
    return of_kind("batch/v1", spec)


def _policy() -> Json:
    rules = part("networkPolicy", "head", "ingressRules")
    spec = fields(
        podSelector=fields(matchLabels=_LABELS),
        policyTypes={"items": {"enum": ["Ingress", "Egress"]}},
        ingress=rules,
    )
    return of_kind("networking.k8s.io/v1", spec)


def _claim() -> Json:
    spec = part(*_POD, "spec", "volumes", "*", "ephemeral", "volumeClaimTemplate", "spec")
    return of_kind("v1", spec)


_SCHEMAS: Mapping[str, Callable[[], Json]] = {
    "RayCluster": lambda: crd("rayclusters"),
    "PodMonitor": lambda: crd("podmonitors"),
    "Service": lambda: of_kind("v1", part("headGroupSpec", "headService", "spec")),
    "ConfigMap": lambda: of_kind("v1", {}, data=_TEXTS, binaryData=_TEXTS),
    "Job": _job,
    "NetworkPolicy": _policy,
    "PersistentVolumeClaim": _claim,
}


def documents(text: bytes) -> Iterator[Json]:
    """Yield the objects of a file."""
    yield from yaml.safe_load_all(text)
