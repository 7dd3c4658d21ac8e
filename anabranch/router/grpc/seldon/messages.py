"""The service of Seldon's protocol: its methods, its messages, and the metadata of calls."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.components.contracts.seldon.protos import POOL, PROTO_PACKAGE, message_type
from anabranch.names import DEFAULT_NAMESPACE

SELDON = f"{PROTO_PACKAGE}.Seldon"
"""Full name of the protocol's service."""
NAME, NAMESPACE = "seldon", "namespace"
"""Metadata by which a gateway of Seldon's finds a deployment."""


def path(method: str) -> str:
    """Return the path of a method of the service, as gRPC writes it."""
    return f"/{SELDON}/{method}"


def methods() -> list[str]:
    """Return the methods of the service; all take one message."""
    return [method.name for method in POOL.FindServiceByName(SELDON).methods]


def graph_of(metadata: Mapping[str, str]) -> str | None:
    """Return the graph, well-formed or not, that a call's metadata name; None for none."""
    name, namespace = metadata.get(NAME), metadata.get(NAMESPACE, DEFAULT_NAMESPACE)
    if not name:
        return None
    return name if namespace == DEFAULT_NAMESPACE else f"{namespace}/{name}"


SeldonMessage = message_type("SeldonMessage")
DefaultData = message_type("DefaultData")
Tensor = message_type("Tensor")
MetaMessage = message_type("Meta")
