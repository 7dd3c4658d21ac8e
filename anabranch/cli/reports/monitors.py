"""The report of ``anabranch monitors``, from the JSON of the engine. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anabranch.cli.terminal import table

Json = dict[str, Any]
_SUMMARY = ("mean", "min", "p05", "p50", "p95", "max")


def monitors_text(found: Json) -> str:
    """Return the report: each monitor in a line, and below its most important features."""
    if not found["monitors"]:
        return f"graph {found['graph']} has no monitors"
    rows = [_row(one) for one in found["monitors"]]
    head = ("MONITOR", "REVISION", "METHOD", "WATCHES", "STATE", "SCORE", "ROWS", "OUTLIERS")
    parts = [table(head, rows), *(text for one in found["monitors"] for text in _details(one))]
    return "\n\n".join(parts)


def _row(one: Json) -> tuple[str, ...]:
    share = one["outlier_share"]
    return (
        one["monitor"], f"r{one['revision']}", one["method"], ", ".join(one["watches"]),
        _state(one), _number(one["score"]), str(one["rows"]),
        "-" if not one["outliers"] else f"{one['outliers']} ({100 * share:.2g}%)",
    )  # fmt: skip


def _state(one: Json) -> str:
    match one["state"]:
        case "gathering":
            return f"gathering its reference, {one['gathered']} of {one['wanted']} rows"
        case "waiting":
            return f"waiting for its first window, {one['gathered']} of {one['wanted']} rows"
        case "drift":
            return f"DRIFT since {one['drift_since']}"
    return str(one["state"])


def _details(one: Json) -> Iterator[str]:
    if one["error"]:
        yield f"{one['monitor']}: {one['error']}"
    features = one["features"]
    if any("mean" in feature for feature in features):
        rows = [
            (feature["name"], *(_number(feature.get(name)) for name in _SUMMARY))
            for feature in features
        ]
        text = table(("FEATURE", *map(str.upper, _SUMMARY)), rows)
        yield _listed(one, "all rows", text)
        return
    drifted = [feature for feature in features if (feature.get("score") or 0) > 1]
    if drifted:
        rows = [
            (feature["name"], *(_number(feature.get(n)) for n in ("score", "statistic", "p_value")))
            for feature in drifted
        ]
        text = table(("FEATURE", "SCORE", "STATISTIC", "P-VALUE"), rows)
        yield _listed(one, "latest window", text)


def _listed(one: Json, of: str, text: str) -> str:
    """Return a table of features under the monitor's name."""
    return f"{one['monitor']}, r{one['revision']}, {of}:\n{text}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
