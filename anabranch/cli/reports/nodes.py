"""The machines of an engine as tables."""

from __future__ import annotations

from typing import Any

from anabranch.cli.reports.traffic import local
from anabranch.cli.terminal import table

Json = dict[str, Any]
_GIB = 2**30
_BYTES = ("memory", "object_store_memory")
_LEFT_OUT = "object_store_memory"
"""A resource that no graph asks for."""
_COLUMNS = ("NAME", "ADDRESS", "STATE", "SINCE", "RESOURCES", "LABELS", "RUNS")


def nodes_text(found: Json) -> str:
    """Return the machines, one a line, then what waits for a place on one."""
    lines = [table(_COLUMNS, [_row(one) for one in found["nodes"]])]
    lines += [f"waits for a place: {_segment(one)}" for one in found["waiting"]]
    return "\n".join([*lines, *map(_lacks, found["pending"])])


def _row(node: Json) -> tuple[str, ...]:
    return (
        node["name"] + (" (head)" if node["head"] else ""),
        node["address"],
        node["state"],
        local(node["since"]),
        ", ".join(
            _resource(name, size) for name, size in node["resources"].items() if name != _LEFT_OUT
        ),
        _labels(node) or "-",
        ", ".join(map(_segment, node["segments"])) or "-",
    )


def _resource(name: str, size: Json) -> str:
    """Return what is used of how much, such as "1 of 8 CPU"; of a lost machine what it had."""
    total = f"{_amount(name, size['total'])} {name}"
    return total if size["used"] is None else f"{_amount(name, size['used'])} of {total}"


def _amount(name: str, size: float) -> str:
    return f"{size / _GIB:.1f} GiB" if name in _BYTES else f"{size:g}"


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
