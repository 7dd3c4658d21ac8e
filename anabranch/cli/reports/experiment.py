"""The report of ``anabranch experiment``, from the JSON of the engine. Pure."""

from __future__ import annotations

from typing import Any

from anabranch.cli.terminal import table
from anabranch.errors import NotFound
from anabranch.specs.excerpts import hint

Json = dict[str, Any]

_COLUMNS = (
    "ROUTE", "REQUESTS", "FAILURES", "MEAN MS", "REWARDS", "MEAN", "DIFFERENCE", "P", "VERDICT",
)  # fmt: skip


def only(found: Json, of: str, router: str | None) -> Json:
    """Return the experiments, or bandits, of one router node, or all; NotFound for an unknown name.

    ``of`` is the field that lists them.
    """
    names = sorted({one["router"] for one in found[of]})
    if router is None:
        return found
    if router not in names:
        kind = "learning router" if of == "bandits" else "router node"
        raise NotFound(f"there is no {kind} {router!r}{hint(router, names)}")
    return found | {of: [one for one in found[of] if one["router"] == router]}


def experiments_text(found: Json) -> str:
    """Return the report: router nodes, each with its routes."""
    if not found["experiments"]:
        return f"{found['graph']} has no router node"
    error = found["error"]
    return "\n\n".join(_experiment_text(one, error) for one in found["experiments"])


def _experiment_text(one: Json, error: float) -> str:
    since = f", the last reward at {one['updated_at']}" if one["updated_at"] else ""
    first = one["routes"][0]["route"]
    said = one["note"] or f"differences from {first}, error at most {100 * error:g} % at all looks"
    rows = [_row(route) for route in one["routes"]]
    return f"{one['router']} in r{one['revision']}{since}\n{table(_COLUMNS, rows)}\n{said}"


def _row(route: Json) -> tuple[str, ...]:
    return (
        route["route"], f"{route['requests']:.0f}", f"{route['failures']:.0f}",
        _number(route["seconds"], 1e3), f"{route['rewards']:.0f}", _number(route["mean"]),
        _number(route["difference"]), _number(route["p_value"]), _verdict(route),
    )  # fmt: skip


def _number(value: float | None, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:.4g}"


def _verdict(route: Json) -> str:
    """Return what the evidence says of a route beside the first one."""
    if route["significant"] is None:
        return "-"
    if not route["significant"]:
        return "not decided"
    return "better" if route["difference"] > 0 else "worse"
