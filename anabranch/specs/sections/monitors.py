"""Rules over several fields of monitors that need no knowledge of the methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anabranch.errors import Mistake
from anabranch.specs.excerpts import nearest
from anabranch.specs.models import Monitor
from anabranch.specs.unvalidated import Map, as_list, as_map, some_time, under


def monitor_rules(spec: Map) -> Iterator[Mistake]:
    """Every rule that the monitors of a spec break; its parts may be anything."""
    monitors = as_map(spec.get("monitors"))
    for name, monitor in monitors.items():
        yield from under(("monitors", name), _monitor(as_map(monitor)))
    if spec.get("monitors") == {}:
        yield ("monitors",), "is empty; remove it"
    if not monitors:
        yield from under(("rollout", "analysis", "metrics"), _judged(spec))


def _monitor(monitor: Map) -> Iterator[Mistake]:
    known = Monitor.model_fields
    meant = {field if field in known else nearest(field, known) or field for field in monitor}
    if {"component", "method"} <= monitor.keys():
        yield ("method",), "a monitor has either `component` or `method`; remove one"
    elif not meant & {"component", "method"}:
        yield (), "needs either `component`, your class, or a built-in `method` such as drift"
    reference = monitor.get("reference")
    if isinstance(reference, Mapping):
        yield from under(("reference",), _reference(as_map(reference)))


def _reference(reference: Map) -> Iterator[Mistake]:
    if ("data" in reference) == ("first" in reference):
        yield (), "needs either `data`, a file, or `first`, a number of rows"
    if "season" in reference and "data" in reference:
        yield ("season",), "needs `first`: rows of a file have no times"
    if "phases" in reference and "season" not in reference:
        yield ("phases",), "are those of a `season`; give its length, such as 24h"
    yield from some_time(reference, "season")


def _judged(spec: Map) -> Iterator[Mistake]:
    """Drift is measured by monitors."""
    analysis = as_map(as_map(spec.get("rollout")).get("analysis"))
    for index, metric in enumerate(as_list(analysis.get("metrics"))):
        if as_map(metric).get("metric") == "drift":
            yield (index, "metric"), "`drift` is measured by `monitors`, and the graph has none"
