"""The machines of an engine as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anabranch.cli.reports.traffic import local
from anabranch.cli.terminal import table

Json = dict[str, Any]
_GIB = 2**30
_UNIT = " GiB"
_BYTES = ("memory", "object_store_memory")
_LEFT_OUT = "object_store_memory"
"""A resource that no graph asks for."""
_COLUMNS = ("NAME", "ADDRESS", "STATE", "SINCE")


def nodes_text(found: Json) -> str:
    """Return the machines, one a line, what runs on each, and what waits for a place on one."""
    nodes = found["nodes"]
    resources = list(dict.fromkeys(name for node in nodes for name in node["resources"]))
    shown = [name for name in resources if name != _LEFT_OUT]
    rows = [[*_row(one), *(_resource(one, name) for name in shown)] for one in nodes]
    lines = [table((*_COLUMNS, *map(str.upper, shown)), rows)]
    if runs := [row for node in nodes for row in _runs(node)]:
        lines += ["", table(("MACHINE", "LABELS", "RUNS"), runs)]
    waits = [f"waits for a place: {_segment(one)}" for one in found["waiting"]]
    waits += map(_lacks, found["pending"])
    return "\n".join([*lines, "", *waits] if waits else lines)


def _row(node: Json) -> tuple[str, ...]:
    name = node["name"] + (" (head)" if node["head"] else "")
    return name, node["address"], node["state"], local(node["since"])


def _runs(node: Json) -> Iterator[tuple[str, ...]]:
    """Yield a row for each thing that runs on a machine, or one for its labels alone."""
    labels = _labels(node)
    for segment in node["segments"]:
        yield node["name"], labels, _segment(segment)
    if labels and not node["segments"]:
        yield node["name"], labels, ""


def _resource(node: Json, name: str) -> str:
    """Return what is used of how much, such as "1 of 8"; of a lost machine what it had."""
    size = node["resources"].get(name)
    if size is None:
        return ""
    total = _amount(name, size["total"])
    if size["used"] is None:
        return total
    return f"{_amount(name, size['used']).removesuffix(_UNIT)} of {total}"


def _amount(name: str, size: float) -> str:
    return f"{size / _GIB:.1f}{_UNIT}" if name in _BYTES else f"{size:g}"


def _labels(found: Json) -> str:
    return ", ".join(f"{name}={value}" for name, value in found["labels"].items())


def _segment(one: Json) -> str:
    revision = "" if one["revision"] is None else f" r{one['revision']}"
    count = "" if one["replicas"] == 1 else f" x{one['replicas']}"
    return f"{one['graph']}{revision} {one['deployment']}{count}"


def _lacks(one: Json) -> str:
    wanted = [f"{_amount(name, size)} {name}" for name, size in one["resources"].items()]
    labels = _labels(one)
    where = f" on a machine with {labels}" if labels else ""
    return f"nowhere free: {' and '.join(wanted) or 'a place'}{where} (asked for {one['count']}x)"
