"""Machines as tables."""

from __future__ import annotations

from typing import Any

from anabranch.cli.reports.nodes import nodes_text

Json = dict[str, Any]


def machine(**fields: Any) -> Json:
    return {
        "name": "two", "address": "10.0.0.3", "head": False, "state": "alive",
        "since": "2026-01-31T12:00:00+00:00", "labels": {}, "segments": [],
        "resources": {"CPU": {"total": 8.0, "used": 1.5}},
    } | fields  # fmt: skip


def segment(**fields: Any) -> Json:
    return {"graph": "g", "revision": 4, "deployment": "large", "replicas": 1} | fields


def text(*nodes: Json, **found: list[Json]) -> list[str]:
    return nodes_text({"nodes": nodes, "pending": [], "waiting": []} | found).splitlines()


def test_a_machine_a_line_with_what_runs_there() -> None:
    memory = {"total": 2.0**33, "used": 2.0**32}
    routers = segment(revision=None, deployment="router", replicas=2)
    _, head, two = text(
        machine(name="one", head=True, segments=[routers]),
        machine(
            labels={"zone": "north"},
            segments=[segment()],
            resources={
                "CPU": {"total": 8.0, "used": 1.5},
                "memory": memory,
                "object_store_memory": memory,
            },
        ),
    )
    assert head.split()[:2] == ["one", "(head)"] and head.endswith("  g router x2")
    assert "  alive  " in two and "  zone=north  " in two and two.endswith("  g r4 large")
    assert "  1.5 of 8 CPU, 4.0 GiB of 8.0 GiB memory  " in two


def test_a_lost_machine_had_resources() -> None:
    (_, line) = text(machine(state="lost", resources={"CPU": {"total": 8.0, "used": None}}))
    assert "  lost  " in line and "  8 CPU  " in line


def test_what_waits_is_told_with_what_is_missing() -> None:
    pending = {"resources": {"CPU": 4.0, "memory": 2.0**30}, "labels": {"zone": "a"}, "count": 2}
    waits, lacks = text(waiting=[segment(replicas=3)], pending=[pending])[1:]
    assert waits == "waits for a place: g r4 large x3"
    assert lacks == (
        "nowhere free: 4 CPU and 1.0 GiB memory on a machine with zone=a (asked for 2x)"
    )
