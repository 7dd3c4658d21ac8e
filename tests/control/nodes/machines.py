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


def numbered(number: int, is_head: bool = False, **fields: Any) -> Node:
    """The machine of a number from 0 to 9, such as ``m2`` at 10.0.0.2."""
    usual: Json = {"name": f"m{number}", "id": f"{number}" * 56, "address": f"10.0.0.{number}"}
    return node(**usual | {"is_head": is_head} | fields)


HEAD, TWO, THREE = numbered(1, is_head=True), numbered(2, labels={"edge": "yes"}), numbered(3)


def app(**deployments: list[str | None]) -> Mapping[str, Any]:
    """An application as Serve tells of it, with the machines of its replicas."""
    found: Json = {}
    for name, places in deployments.items():
        ids = [None if at is None else at.encode().hex() for at in places]
        found[name] = {"replicas": [{"node_id": one} for one in ids]}
    return {"deployments": found}
