"""Machines as Ray tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.control.nodes.node import INGRESS, MACHINE, Node

Json = dict[str, Any]


def node(name: str, **fields: Any) -> Node:
    """A machine of the engine whose id is its name in hex."""
    usual: Json = {
        "id": name.encode().hex(), "name": name, "address": f"10.0.0.{len(name)}",
        "is_head": False, "state": "alive", "since": 1e9,
        "labels": {MACHINE: f"m-{name}", INGRESS: "true"},
    }  # fmt: skip
    return Node(**usual | fields)


def app(**deployments: list[str | None]) -> Mapping[str, Any]:
    """An application as Serve tells of it, with the machines of its replicas."""
    found: Json = {}
    for name, places in deployments.items():
        ids = [None if at is None else at.encode().hex() for at in places]
        found[name] = {"replicas": [{"node_id": one} for one in ids]}
    return {"deployments": found}
