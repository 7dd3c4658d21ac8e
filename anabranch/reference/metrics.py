"""All metrics in tables, from their definitions."""

from __future__ import annotations

from anabranch.reference.markdown import code, table
from anabranch.telemetry.definitions import METRICS, SECONDS, MetricDefinition, bound_label

SECTIONS = {
    "Requests": ("request",),
    "Arms": ("arm", "route_reward"),
    "Nodes, routes and hops": ("node", "queue", "batch", "route_requests", "hop", "component"),
    "Replicas": ("replica", "machine", "segment", "cold"),
    "Mirrors": ("mirror",),
    "Rollouts": ("rollout",),
    "Watched models": ("watch",),
    "Batch jobs": ("job",),
    "Asynchronous requests": ("async",),
    "Webhooks": ("webhook",),
    "Models that share a replica": ("multiplex",),
    "Shared models": ("model_",),
    "Lookups of features": ("lookup",),
    "Caches": ("cache",),
    "Explainers": ("explan", "explainer", "attribution"),
    "Monitors": ("monitor",),
    "Bundles": ("bundle",),
    "Access": ("access",),
    "Outlets": ("outlet",),
}
"""Titles, and the prefixes of the names in each section."""


_HEAD = ("metric", "kind", "labels", "what it is")


def tables() -> str:
    """Return all metrics, in a table for each section."""
    parts = []
    for title, prefixes in SECTIONS.items():
        rows = [metric for name, metric in METRICS.items() if _short(name).startswith(prefixes)]
        parts.append(f"## {title}\n\n{table(_HEAD, map(_row, rows))}")
    bounds = ", ".join(map(bound_label, SECONDS))
    return "\n\n".join([*parts, f"Durations have buckets up to {bounds} seconds."])


def _short(name: str) -> str:
    return name.removeprefix("anabranch_")


def _row(metric: MetricDefinition) -> list[str]:
    labels = ", ".join(map(code, metric.labels))
    return [code(metric.name), metric.kind, labels, metric.help]
