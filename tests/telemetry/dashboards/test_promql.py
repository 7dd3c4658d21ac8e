"""Queries are made of names and labels that are there."""

from __future__ import annotations

import pytest

from anabranch.telemetry import definitions as d
from anabranch.telemetry.dashboards.promql import (
    level,
    mean,
    named,
    per,
    quantile,
    rate,
    share,
)

SCOPE = ('graph="g"', 'revision=~"1|2"')


def test_a_matcher_counts_where_the_metric_has_the_label() -> None:
    assert rate(d.REQUESTS, "code", scope=SCOPE, window="5m").text == (
        'sum by (code) (rate(anabranch_requests_total{graph="g"}[5m]))'
    )
    assert rate(d.ARM_REQUESTS, scope=SCOPE, window="5m").text == (
        'sum (rate(anabranch_arm_requests_total{graph="g", revision=~"1|2"}[5m]))'
    )


def test_a_label_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="anabranch_requests_total has no label"):
        rate(d.REQUESTS, "revision")


def test_gauges_are_put_together_as_defined() -> None:
    assert level(d.ARM_WEIGHT).text == "max (anabranch_arm_weight)"
    assert level(d.REQUESTS_IN_FLIGHT, "graph").text == (
        "sum by (graph) (anabranch_requests_in_flight)"
    )


def test_histograms_are_read_by_their_parts() -> None:
    assert quantile(0.9, d.ARM_LATENCY, "graph", window="1m").text == (
        "histogram_quantile(0.9,"
        " sum by (graph, le) (rate(anabranch_arm_latency_seconds_bucket[1m])))"
    )
    assert mean(d.BATCH_SIZE, window="1m").text == (
        "sum (rate(anabranch_batch_size_rows_sum[1m]))"
        " / (sum (rate(anabranch_batch_size_rows_count[1m])) > 0)"
    )


def test_a_share_is_zero_without_a_part_and_knows_its_metrics() -> None:
    found = share(rate(d.ARM_ERRORS, window="1m"), rate(d.ARM_REQUESTS, window="1m"))
    assert found.text == (
        "(sum (rate(anabranch_arm_errors_total[1m]))"
        " or 0 * sum (rate(anabranch_arm_requests_total[1m])))"
        " / (sum (rate(anabranch_arm_requests_total[1m])) > 0)"
    )
    assert found.metrics == (d.ARM_ERRORS, d.ARM_REQUESTS)
    assert per(rate(d.ARM_RIGHT), rate(d.ARM_JUDGED)).metrics == (d.ARM_RIGHT, d.ARM_JUDGED)


def test_names_of_metrics_and_records_change_and_nothing_else() -> None:
    text = 'a{x="anabranch-b"} / anabranch_c_total / anabranch:d:e'
    assert named(text, "gateway") == text
    assert named(text, "ray") == 'a{x="anabranch-b"} / ray_anabranch_c_total / ray_anabranch:d:e'
