"""Machines as tables."""

from __future__ import annotations

import re
from typing import Any

from anabranch.cli.reports.nodes import nodes_text

Json = dict[str, Any]
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


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


def test_a_machine_a_line_and_below_what_runs_on_each() -> None:
    memory = {"total": 2.0**33, "used": 2.0**32}
    routers = segment(revision=None, deployment="router", replicas=2)
    head = machine(name="anabranch-head", address="10.77.0.111", head=True, segments=[routers])
    resources = {
        "CPU": {"total": 8.0, "used": 1.5}, "memory": memory, "object_store_memory": memory,
    }  # fmt: skip
    two = machine(
        labels={"zone": "north"}, segments=[segment(), segment(graph="h")], resources=resources
    )
    idle = machine(name="idle", labels={"zone": "south"})
    lines = text(head, two, idle, machine(name="bare"))
    assert [TIME.sub("<time>", line) for line in lines[:5]] == [
        "NAME                   ADDRESS      STATE  SINCE                CPU       MEMORY",
        "anabranch-head (head)  10.77.0.111  alive  <time>  1.5 of 8  -",
        "two                    10.0.0.3     alive  <time>  1.5 of 8  4.0 of 8.0 GiB",
        "idle                   10.0.0.3     alive  <time>  1.5 of 8  -",
        "bare                   10.0.0.3     alive  <time>  1.5 of 8  -",
    ]
    assert lines[5:] == [
        "",
        "MACHINE         LABELS      RUNS",
        "anabranch-head  -           g router x2",
        "two             zone=north  g r4 large",
        "two             zone=north  h r4 large",
        "idle            zone=south  -",
    ]


def test_the_tables_fit_a_terminal_of_80_columns() -> None:
    size = {"total": 2.0**36, "used": 2.0**35}
    resources = {"CPU": {"total": 64.0, "used": 12.5}, "memory": size, "object_store_memory": size}
    lines = text(machine(name="worker-12", address="10.77.0.111", resources=resources))
    assert max(map(len, lines)) <= 80


def test_a_lost_machine_had_resources() -> None:
    (_, line) = text(machine(state="lost", resources={"CPU": {"total": 8.0, "used": None}}))
    assert "  lost  " in line and line.endswith("  8")


def test_what_waits_is_told_with_what_is_missing() -> None:
    pending = {"resources": {"CPU": 4.0, "memory": 2.0**30}, "labels": {"zone": "a"}, "count": 2}
    _, waits, lacks = text(waiting=[segment(replicas=3)], pending=[pending])[1:]
    assert waits == "waits for a place: g r4 large x3"
    assert lacks == (
        "nowhere free: 4 CPU and 1.0 GiB memory on a machine with zone=a (asked for 2x)"
    )
