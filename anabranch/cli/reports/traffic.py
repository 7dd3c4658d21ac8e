"""Reports on traffic, from the JSON of the engine. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from anabranch.cli.terminal import table

Json = dict[str, Any]
BAR = 20
"""Width of a bar, in characters."""
_QUANTILES = ("p50", "p95", "p99")
_LEAST = 1e-4
"""Smallest share that is printed."""


def arms_text(arms: Sequence[Json]) -> str:
    """Return the table of arms: shares, and rates, errors and latencies of the last seconds."""
    rows = [
        (
            f"r{arm['revision']}", arm["state"], bar(arm["share"]), percent(arm["share"]),
            rate(arm["requests_per_second"]), fraction(arm["error_rate"]),
            *(duration(arm["latency"][name]) for name in _QUANTILES),
        )
        for arm in arms
    ]  # fmt: skip
    columns = ("ARM", "STATE", "TRAFFIC", "", "REQ/S", "ERRORS", "P50", "P95", "P99")
    return table(columns, rows)


def feedback_text(arms: Sequence[Json]) -> str:
    """Return the table of rewards for arms and their routes; empty without rewards."""
    rows = [row for arm in arms for row in _feedback_rows(arm)]
    return table(("FEEDBACK", "ROUTE", "REWARDS", "MEAN", "ACCURACY"), rows) if rows else ""


def _feedback_rows(arm: Json) -> Iterator[tuple[str, ...]]:
    name, found = f"r{arm['revision']}", arm["feedback"]
    if found["rewards"]:
        yield (name, "", *_rewards(found))
    for route in found["routes"]:
        yield (name, f"{route['router']} > {route['route']}", *_rewards(route))


def _rewards(found: Json) -> tuple[str, str, str]:
    error = "" if found["reward_error"] is None else f" ± {found['reward_error']:.2g}"
    return str(found["rewards"]), f"{found['reward']:.4g}{error}", fraction(found["accuracy"])


def mirrors_text(mirrors: Sequence[Json]) -> str:
    """Return the table of mirrors: copies, agreement and errors of the last seconds."""
    rows = [
        (
            f"r{one['revision']}", one["state"], percent(one["percent"]),
            rate(one["sent_per_second"]), rate(one["dropped_per_second"]),
            fraction(one["agreement"]), fraction(one["error_rate"]),
        )
        for one in mirrors
    ]  # fmt: skip
    columns = ("MIRROR", "STATE", "COPIES", "SENT/S", "DROPPED/S", "AGREEMENT", "ERRORS")
    return table(columns, rows)


def rollout_text(found: Json, now: datetime) -> str:
    """Return the report on a rollout: its step, its last look, and the time of its next action."""
    return "\n".join([_headline(found), *(f"  {line}" for line in _rollout_lines(found, now))])


def rollout_now(found: Json) -> str:
    """Return the report on a rollout, with times from now."""
    return rollout_text(found, datetime.now(UTC))


def rollout_line(found: Json) -> str:
    """Return one line on a rollout: its phase and step, and the reason for them."""
    waits = found["waiting_since"] is not None
    said = [one["message"] for one in found["measurements"] if one["verdict"] == "inconclusive"]
    reason = found["reason"] or ("; ".join(said) if waits else "")
    return f"{_headline(found)}: {reason}" if reason else _headline(found)


def _headline(found: Json) -> str:
    name, steps = f"rollout of r{found['revision']}", len(found["steps"])
    if found["phase"] == "promoted":
        return f"{name}: promoted   {_path(found['steps'], steps)}"
    by = f" ({found['paused_by']})" if found["paused_by"] else ""
    return (
        f"{name}: {found['phase']}{by}, step {found['step']} of {steps}: "
        f"{percent(found['weight'])}   {_path(found['steps'], found['step'] - 1)}"
    )


def _path(steps: Sequence[float], at: int) -> str:
    """Return the steps of a rollout, with the present step in brackets."""
    places = [*(f"{step:g}" for step in steps), "stable"]
    places[at] = f"[{places[at]}]"
    return " > ".join(places)


def _rollout_lines(found: Json, now: datetime) -> Iterator[str]:
    if found["reason"]:
        since = f", since {local(found['paused_at'])}" if found["paused_at"] else ""
        yield f"{found['reason']}{since}"
    judged = list(_judged(found["plan"].get("analysis")))
    if judged:
        yield f"judged by {', '.join(judged)}"
    since = found["waiting_since"]
    if since is not None:
        yield f"waiting since {local(since)} for a look that is conclusive"
    for one in found["measurements"]:
        if one["message"] not in found["reason"]:
            yield f"last look: {one['verdict']}: {one['message']}"
    waits = [
        f"{name} in {_wait(seconds)}"
        for name, moment in (("next look", "next_look"), ("held long enough", "held_until"))
        if (seconds := _seconds_to(found[moment], now)) is not None
    ]
    if waits:
        yield "; ".join(waits)


def _judged(analysis: Json | None) -> Iterator[str]:
    for metric in (analysis or {}).get("metrics", ()):
        limits = [f"{sign} {metric[key]}" for key, sign in (("min", ">="), ("max", "<="))
                  if metric.get(key) is not None]  # fmt: skip
        yield f"{metric['metric']} {' and '.join(limits)}"


def rollout_hint(found: Json, graph: str) -> str | None:
    """Return the next commands for a paused rollout."""
    if found["phase"] != "paused":
        return None
    if found["approval"] is not None:
        return f"next: `anabranch rollout {graph} approve` by who may, or `abort`"
    return f"next: `anabranch rollout {graph} resume`, `promote` or `abort`"


def traffic_text(found: Json) -> str:
    """Return the tables of a graph's weights and mirrors."""
    weights: Mapping[str, float] = found["weights"]
    total = math.fsum(weights.values())
    shares = {number: 100 * weight / total if total else 0.0 for number, weight in weights.items()}
    rows = [
        (f"r{number}", f"{weight:g}", bar(shares[number]), percent(shares[number]))
        for number, weight in weights.items()
    ]
    mirrors = [(f"r{number}", percent(share)) for number, share in found["mirrors"].items()]
    parts = [
        table(("ARM", "WEIGHT", "TRAFFIC", ""), rows) if rows else "no traffic yet",
        table(("MIRROR", "COPIES"), mirrors) if mirrors else "",
    ]
    return "\n\n".join(part for part in parts if part)


def routers_text(found: Json) -> str:
    """Return the number of routers that have a change in force, as text."""
    routers = found["routers"]
    confirmed, known = routers["confirmed"], routers["known"]
    if not known:
        return "no router is running yet; each starts with this change"
    if confirmed == known:
        return f"in force in {'the router' if known == 1 else f'all {known} routers'}"
    return f"in force in {confirmed} of {known} routers; the others get it when they ask again"


def compare_text(found: Json) -> str:
    """Return the comparison of mirrors with the clients' arms."""
    mirrors = found["mirrors"]
    if not mirrors:
        graph = found["graph"]
        return f"{graph} has no mirrors; begin one with `anabranch traffic {graph} --mirror rN=100`"
    rows = [
        (
            f"r{one['revision']}", percent(one["percent"]), one["selected"], one["sent"],
            one["dropped"], one["compared"], fraction(one["agreement"]), one["close"],
            one["errors"], fraction(one["error_rate"]),
        )
        for one in mirrors
    ]  # fmt: skip
    columns = (
        "MIRROR", "COPIES", "SELECTED", "SENT", "DROPPED", "COMPARED", "AGREEMENT", "CLOSE",
        "ERRORS", "RATE",
    )  # fmt: skip
    latencies = [row for one in mirrors for row in _latency_rows(one)]
    kinds = [f"errors of r{one['revision']}: {_counts(one['kinds'])}"
             for one in mirrors if one["kinds"]]  # fmt: skip
    parts = [table(columns, rows), table(("LATENCY", "P50", "P95", "P99"), latencies), *kinds]
    return "\n\n".join(parts)


def _latency_rows(one: Json) -> Iterator[tuple[str, ...]]:
    named = {
        f"r{one['revision']}, copies": one["latency"],
        "the same requests, as answered": one["primary_latency"],
    }
    for name, times in named.items():
        yield (name, *(duration(times[key]) for key in _QUANTILES))
    yield ("difference", *(_signed(one["difference"][key]) for key in _QUANTILES))


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def bar(share: float) -> str:
    """Return a share in percent as a bar; shares near 0 and 100 show too."""
    filled = round(share / 100 * BAR)
    if 0 < share < 100:
        filled = min(max(filled, 1), BAR - 1)
    return "█" * filled + "░" * (BAR - filled)


def percent(share: float) -> str:
    """Return a share in percent: ``12.5 %``."""
    return f"{share:.4g} %"


def fraction(share: float | None) -> str:
    """Return a share from 0 to 1 in percent, never rounded to 0 or 100; a dash for None."""
    if share is None:
        return "-"
    if 0 < share < _LEAST:
        return f"< {percent(100 * _LEAST)}"
    if 1 - _LEAST < share < 1:
        return f"> {percent(100 - 100 * _LEAST)}"
    return percent(100 * share)


def rate(value: float | None) -> str:
    """Return a rate per second; a dash for None."""
    return "-" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Return a duration in a suitable unit; a dash for None."""
    if seconds is None:
        return "-"
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms"), (120.0, 1.0, "s")):
        if abs(seconds) < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 60:.3g} min"


def _signed(seconds: float | None) -> str:
    return duration(seconds) if seconds is None or seconds < 0 else f"+{duration(seconds)}"


def local(moment: str | datetime) -> str:
    """Return a time, as text one of ISO 8601, as date and time of day of the local time zone."""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _wait(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _seconds_to(moment: str | None, now: datetime) -> float | None:
    """Return the seconds until an ISO 8601 time, at least 0."""
    if moment is None:
        return None
    return max(0.0, (datetime.fromisoformat(moment) - now.astimezone(UTC)).total_seconds())
