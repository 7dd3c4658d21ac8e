"""Queries are made of names and labels that are there."""

from __future__ import annotations

import pytest

from anabranch.telemetry import definitions as d
from anabranch.telemetry.dashboards.promql import Queries, named, per, share

SCOPE = ('graph="g"', 'revision=~"1|2"')
MINUTE = Queries(window="1m")


def test_a_matcher_counts_where_the_metric_has_the_label() -> None:
    scoped = Queries(SCOPE, window="5m")
    assert scoped.rate(d.REQUESTS, "code").text == (
        'sum by (code) (rate(anabranch_requests_total{graph="g"}[5m]))'
    )
    assert scoped.rate(d.ARM_REQUESTS).text == (
        'sum (rate(anabranch_arm_requests_total{graph="g", revision=~"1|2"}[5m]))'
    )


def test_labels_of_all_queries_come_before_those_of_one() -> None:
    assert Queries(by=("graph",)).level(d.ARM_WEIGHT, "revision").text == (
        "max by (graph, revision) (anabranch_arm_weight)"
    )


def test_series_are_named_by_their_labels_unless_told_otherwise() -> None:
    arm = Queries(by=("revision",), legend="r{revision}")
    errors = arm.rate(d.ARM_ERRORS, "kind")
    assert errors.legend == "r{revision} {kind}"
    assert per(errors, arm.rate(d.ARM_REQUESTS)).when("> 0").legend == errors.legend
    assert arm.level(d.ARM_WEIGHT).part("now").legend == "r{revision} now"
    assert arm.level(d.ARM_WEIGHT).called("weight").legend == "weight"
    assert errors.summed("kind").legend == "{kind}"


def test_windows_are_the_dashboards_where_none_is_given() -> None:
    assert "[$__rate_interval]" in Queries().rate(d.REQUESTS).text
    assert "[$__range]" in Queries().increase(d.REQUESTS).text
    assert "[1m]" in MINUTE.rate(d.REQUESTS).text and "[1m]" in MINUTE.increase(d.REQUESTS).text


def test_a_label_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="anabranch_requests_total has no label"):
        Queries().rate(d.REQUESTS, "revision")


def test_gauges_are_put_together_as_defined() -> None:
    assert Queries().level(d.ARM_WEIGHT).text == "max (anabranch_arm_weight)"
    assert Queries().level(d.REQUESTS_IN_FLIGHT, "graph").text == (
        "sum by (graph) (anabranch_requests_in_flight)"
    )


def test_histograms_are_read_by_their_parts() -> None:
    assert MINUTE.quantile(0.9, d.ARM_LATENCY, "graph").text == (
        "histogram_quantile(0.9,"
        " sum by (graph, le) (rate(anabranch_arm_latency_seconds_bucket[1m])))"
    )
    assert MINUTE.mean(d.BATCH_SIZE).text == (
        "sum (rate(anabranch_batch_size_rows_sum[1m]))"
        " / (sum (rate(anabranch_batch_size_rows_count[1m])) > 0)"
    )


def test_a_share_is_zero_without_a_part_and_knows_its_metrics() -> None:
    found = share(MINUTE.rate(d.ARM_ERRORS), MINUTE.rate(d.ARM_REQUESTS))
    assert found.text == (
        "(sum (rate(anabranch_arm_errors_total[1m]))"
        " or 0 * sum (rate(anabranch_arm_requests_total[1m])))"
        " / (sum (rate(anabranch_arm_requests_total[1m])) > 0)"
    )
    assert found.metrics == (d.ARM_ERRORS, d.ARM_REQUESTS)
    found = per(MINUTE.rate(d.ARM_RIGHT), MINUTE.rate(d.ARM_JUDGED))
    assert found.metrics == (d.ARM_RIGHT, d.ARM_JUDGED)


def test_names_of_metrics_and_records_change_and_nothing_else() -> None:
    text = 'a{x="anabranch-b"} / anabranch_c_total / anabranch:d:e'
    assert named(text, "gateway") == text
    assert named(text, "ray") == 'a{x="anabranch-b"} / ray_anabranch_c_total / ray_anabranch:d:e'
