"""Stores of the tests' own, and graphs of one lookup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from anabranch.components.features.stores import StoreOptions
from anabranch.graph.compile.loading import load_data
from anabranch.graph.local import LocalGraph
from tests.redis_server import RedisServer, running_redis

OUTPUTS = {
    "age": {"datatype": "INT64", "shape": [-1]},
    "tier": {"datatype": "BYTES", "shape": [-1]},
}
DEFAULTS = {"age": -1, "tier": ""}


@pytest.fixture(scope="session")
def redis_of_session() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def redis(redis_of_session: RedisServer) -> RedisServer:
    """A server without any keys."""
    with redis_of_session.client as client:
        client.flushall()
    return redis_of_session


def options(url: str, root: Path = Path(), **more: Any) -> StoreOptions:
    given = {"entities": ("user_id",), "refs": ("age", "tier"), "seconds": 60.0, **more}
    return StoreOptions(node="profile", root=root, url=url, **given)


def lookup_document(
    args: Mapping[str, Any], datatype: str = "INT64", seconds: str = "60s", **node: Any
) -> dict[str, Any]:
    """Return the spec of a graph that looks up age and tier of users."""
    spec: dict[str, Any] = {
        "type": "transformer",
        "method": "lookup",
        "inputs": {"user_id": "user_id"},
        "args": {"features": {name: name for name in OUTPUTS}, **args},
        "outputs": OUTPUTS,
        **node,
    }
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "shop"},
        "spec": {
            "inputs": {"user_id": {"datatype": datatype, "shape": [-1]}},
            "nodes": {"profile": spec},
            "outputs": {name: f"profile.{name}" for name in spec["outputs"]},
            "timeout": seconds,
        },
    }


def lookup_graph(root: Path, args: Mapping[str, Any], **more: Any) -> LocalGraph:
    """Return that graph, loaded from the folder ``root``."""
    return LocalGraph(load_data(lookup_document(args, **more)).plan, root)
