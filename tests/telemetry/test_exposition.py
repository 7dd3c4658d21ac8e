"""Snapshots as text, read back by the client library's own parsers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic

from anabranch.telemetry.definitions import METRICS, REQUEST_DURATION, REQUESTS
from anabranch.telemetry.exposition import exposition
from anabranch.telemetry.registry import Registry

OPEN = "application/openmetrics-text; version=1.0.0"
REQUEST = ("digits", "infer", "http")
TRACE = "ab" * 16


@pytest.fixture
def registry() -> Registry:
    """Every metric, with a value of its own."""
    found = Registry()
    for place, metric in enumerate(METRICS.values()):
        if metric.kind == "histogram":
            found.distribution(metric, *metric.labels).observe(0.3)
        else:
            found.number(metric, *metric.labels).value = place
    return found


@pytest.mark.parametrize(("accept", "parse"), [("", classic), (OPEN, open_metrics)])
def test_every_metric_can_be_read_back(registry: Registry, accept: str, parse: Any) -> None:
    _, text = exposition(registry.snapshot(), accept)
    values = {}
    for family in parse(text.decode()):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "le"}
            if sample.labels.get("le", "+Inf") == "+Inf":
                values[sample.name] = (labels, sample.value)
    for place, metric in enumerate(METRICS.values()):
        labels = {name: name for name in metric.labels}
        if metric.kind == "histogram":
            assert values[f"{metric.name}_bucket"] == (labels, 1)
            assert values[f"{metric.name}_count"] == (labels, 1)
            assert values[f"{metric.name}_sum"] == (labels, 0.3)
        else:
            assert values[metric.name] == (labels, place)


def test_types_and_helps_are_told(registry: Registry) -> None:
    text = exposition(registry.snapshot())[1].decode()
    families = {family.name: family for family in classic(text)}
    for metric in METRICS.values():
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


def test_exemplars_show_in_open_metrics() -> None:
    registry = Registry()
    cell = registry.distribution(REQUEST_DURATION, *REQUEST)
    for seconds in (0.2, 0.3):
        cell.observe(seconds)
    cell.witness(0.2, TRACE, 1700000000.25)
    _, text = exposition(registry.snapshot(), OPEN)
    (family,) = open_metrics(text.decode())
    shown = {one.labels["le"]: one.exemplar for one in family.samples if "le" in one.labels}
    assert {bound for bound, exemplar in shown.items() if exemplar} == {"0.25"}
    assert shown["0.25"] is not None
    assert (shown["0.25"].labels, shown["0.25"].value) == ({"trace_id": TRACE}, 0.2)
    assert TRACE not in exposition(registry.snapshot())[1].decode()


def test_buckets_are_cumulative() -> None:
    registry = Registry()
    cell = registry.distribution(REQUEST_DURATION, *REQUEST)
    for seconds in (0.0001, 0.2, 0.2, 1e9):
        cell.observe(seconds)
    (family,) = classic(exposition(registry.snapshot())[1].decode())
    counts = {float(s.labels["le"]): s.value for s in family.samples if "le" in s.labels}
    assert (counts[0.0001], counts[0.1], counts[0.25], counts[math.inf]) == (1, 1, 3, 4)


def test_nothing_counted_is_an_empty_page() -> None:
    assert exposition({})[1] == b""
    assert exposition({}, OPEN)[1] == b"# EOF\n"
    assert exposition(Registry().snapshot() | {REQUESTS.name: {}})[1] == b""
