"""Servers that go on where they are: nodes that call them over the protocol of their deployment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anabranch.components.runtimes.open_inference.addresses import is_url
from anabranch.importers.fields import Fields
from anabranch.importers.seldon_v1.units.tree import PredictiveUnit
from anabranch.names import DEFAULT_NAMESPACE
from anabranch.specs.excerpts import shown

SELDON, OPEN_INFERENCE, TENSORFLOW = "seldon", "open_inference", "v1"
"""Runtimes that call another server."""
RUNTIMES = {
    "seldon": SELDON,
    "v2": OPEN_INFERENCE,
    "kfserving": OPEN_INFERENCE,
    "tensorflow": TENSORFLOW,
}
"""The runtime for each protocol of a deployment."""
_FIELDS = ("service_host", "service_port", "httpPort", "grpcPort", "type")
_LOCAL = ("localhost", "127.0.0.1", "0.0.0.0", "::1")
_PORT = 9000
"""``FirstHttpPortNumber`` of ``operator/constants/constants.go``."""


def address(unit: PredictiveUnit) -> str:
    """Return the address of a unit's ``endpoint``; empty where it is that of a pod itself."""
    endpoint = unit.fields.within("endpoint")
    host = endpoint.text("service_host")
    port = endpoint.whole("httpPort") or endpoint.whole("service_port")
    if not host or host in _LOCAL or not port or _is_own_service(unit, host):
        return ""
    return f"http://{host}:{port}"


def _is_own_service(unit: PredictiveUnit, host: str) -> bool:
    """Tell whether a host is the service that Seldon's webhook makes for a container.

    It goes when the deployment goes (``setContainerPredictiveUnitDefaults`` of ``defaults.go``).
    """
    manifest = unit.fields.source.manifest
    service, _, domain = host.partition(".")
    named = service.startswith(f"{manifest.name}-") and service.endswith(f"-{unit.name}")
    hashed = re.fullmatch(r"seldon-[0-9a-f]{32}", service) is not None
    namespace = manifest.namespace or DEFAULT_NAMESPACE
    return (named or hashed) and domain == f"{namespace}.svc.cluster.local"


def note_endpoint(unit: PredictiveUnit) -> None:
    """Note the fields of a unit's ``endpoint``."""
    endpoint: Fields = unit.fields.within("endpoint")
    is_remote = bool(address(unit))
    for key in _FIELDS[:-1]:
        if endpoint.has(key):
            text = "`args.url` of the node" if is_remote else "no port: nodes run in the engine"
            endpoint.reworded(text, key)
            endpoint.asked.add(key)
    if endpoint.choice("type", ("REST", "GRPC")):
        endpoint.reworded("nodes are called in their process, or by the engine's own calls", "type")
    endpoint.finish(_FIELDS)


def remote_node(
    unit: PredictiveUnit,
    runtime: str,
    server: str,
    port: int = _PORT,
    values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the node that calls the server of a unit, with a placeholder if no address is known.

    ``values`` are those of TensorFlow Serving's proxy: the endpoint, and names at the server.
    """
    given = values or {}
    url = str(given.get("rest_endpoint") or address(unit))
    if not url:
        url = f"http://localhost:{port}"
        unit.fields.to_do(f"keep {server} running, and write its address into `args.url`", "name")
    elif not is_url(url):
        unit.fields.mistake(f"{shown(url)} is no address of a server", "endpoint")
    if unit.fields.text("modelUri"):
        unit.fields.reworded(f"the model of {server}", "modelUri")
    for key in ("serviceAccountName", "envSecretRefName", "storageInitializerImage"):
        if unit.fields.text(key):
            unit.fields.reworded("the server fetches its model itself", key)
    args = {"url": url}
    if runtime != SELDON:
        args["model"] = str(given.get("model_name") or unit.name)
    if "signature_name" in given:
        args["signature"] = str(given["signature_name"])
    return {"type": "predictor", "runtime": runtime, "args": args}
