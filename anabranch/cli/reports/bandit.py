"""The report of ``anabranch bandit``, from the JSON of the engine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anabranch.cli.reports.traffic import bar, percent
from anabranch.cli.terminal import counted, table

Json = dict[str, Any]


def bandits_text(found: Json) -> str:
    """Return the report: learning routers, each with its routes."""
    if not found["bandits"]:
        return f"{found['graph']} has no learning router"
    return "\n\n".join(_bandit_text(one) for one in found["bandits"])


def _bandit_text(one: Json) -> str:
    revisions = ", ".join(f"r{number}" for number in one["revisions"])
    rewards = counted(one["rewards"], "reward")
    since = f", the last at {one['updated_at']}" if one["updated_at"] else ""
    rows = [
        (
            route["route"], *_share(route["share"]), route["rewards"], f"{route['weight']:.4g}",
            f"{route['mean']:.4g}", _interval(route["interval"]), _posterior(route["posterior"]),
        )
        for route in one["routes"]
    ]  # fmt: skip
    columns = ("ROUTE", "SHARE", "", "REWARDS", "WEIGHT", "MEAN", "95 %", "POSTERIOR")
    return f"{one['router']}: {one['strategy']} in {revisions}, {rewards}{since}\n" + table(
        columns, rows
    )


def _share(share: float | None) -> tuple[str, str]:
    """Return a share as a bar and a number; "by features" if it depends on the request."""
    return ("", "by features") if share is None else (bar(100 * share), percent(100 * share))


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"


def _posterior(posterior: Json) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in posterior.items())


def _value(value: Any) -> str:
    if not isinstance(value, list):
        return "-" if value is None else f"{value:.4g}"
    return f"[{', '.join(f'{number:.3g}' for number in value)}]"
