"""Replicas by machine, as a metric."""

from __future__ import annotations

from typing import Any

from anabranch.control.nodes.counts import MachineCounts
from anabranch.telemetry.definitions import MACHINE_REPLICAS
from anabranch.telemetry.registry import Registry
from tests.control.nodes.machines import app, node

ONE, TWO = node("one"), node("two")


def test_replicas_are_counted_where_they_are() -> None:
    apps: dict[str, Any] = {
        "shop": app(router=["one", "two", "two"]),
        "shop.r2": app(net=["two", None]),
        "shop.r3": app(net=["two"]),
        "anabranch.gateway": app(gateway=["one"]),
    }
    registry = Registry()
    counts = MachineCounts(lambda: apps, registry)

    def shown() -> dict[Any, Any]:
        return dict(registry.snapshot().get(MACHINE_REPLICAS.name, {}))

    counts.see([ONE, TWO])
    assert shown() == {
        ("shop", "router", "one"): 1,
        ("shop", "router", "two"): 2,
        ("shop", "net", "two"): 2,
    }
    del apps["shop.r3"]
    counts.see([ONE])
    assert shown() == {("shop", "router", "one"): 1}
    counts.see([])
    assert shown() == {}
