"""Writes the tables of ``docs/metrics.md`` from the definitions: ``python -m`` this module.

The text outside the two marks is written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from anabranch.telemetry.definitions import METRICS, SECONDS, MetricDefinition, bound_label

BEGIN = "<!-- begin: written by `make metrics` -->"
END = "<!-- end -->"

SECTIONS = {
    "Requests": ("request",),
    "Arms": ("arm", "route_reward"),
    "Nodes, routes and hops": ("node", "queue", "batch", "route_requests", "hop"),
    "Replicas": ("replica", "cold"),
    "Mirrors": ("mirror",),
    "Rollouts": ("rollout",),
    "Models that share a replica": ("multiplex",),
    "Explainers": ("explan", "explainer", "attribution"),
    "Monitors": ("monitor",),
    "Outlets": ("outlet",),
}
"""Titles, and the prefixes of the names in each section."""


def tables() -> str:
    """Return all metrics, in a table for each section."""
    parts = []
    for title, prefixes in SECTIONS.items():
        rows = [metric for name, metric in METRICS.items() if _short(name).startswith(prefixes)]
        parts.append(f"### {title}\n\n{_table(rows)}")
    bounds = ", ".join(map(bound_label, SECONDS))
    return "\n\n".join([*parts, f"Durations have buckets up to {bounds} seconds."])


def written(page: str) -> str:
    """Return a page with the tables in place of the text between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def _short(name: str) -> str:
    return name.removeprefix("anabranch_")


def _table(metrics: Iterable[MetricDefinition]) -> str:
    head = ["| metric | kind | labels | what it is |", "|---|---|---|---|"]
    return "\n".join([*head, *map(_row, metrics)])


def _row(metric: MetricDefinition) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"


def main(path: str) -> None:
    """Write the tables into a page."""
    page = Path(path)
    page.write_text(written(page.read_text()))


if __name__ == "__main__":
    main(sys.argv[1])
