"""Replicas of a component of KServe as ``scaling``.

Without ``maxReplicas`` Knative sets no upper bound, and a plain Deployment has ``minReplicas`` of
them (pkg/apis/serving/v1beta1/component.go).
"""

from __future__ import annotations

from typing import Any

from anabranch.importers.fields import Fields

MOST = 1000
"""Most replicas of a segment."""
_METRICS = ("concurrency", "cpu", "memory", "rps")
_CONCURRENCY = "concurrency"
_MOST_TARGET = 10_000
_ONLY_LOAD = "replicas follow the requests in progress: set `scaling.target_ongoing`"


def import_scaling(fields: Fields) -> dict[str, Any]:
    """Return the scaling of a component; empty where it says nothing of replicas."""
    least, most = fields.whole("minReplicas"), fields.whole("maxReplicas")
    metric, target = fields.choice("scaleMetric", _METRICS), fields.whole("scaleTarget")
    _check_bounds(fields, least, most)
    fields.leave_out({"autoScaling": _ONLY_LOAD, "scaleMetricType": _ONLY_LOAD})
    found = _between(fields, least, most or 0)
    if target is not None or metric:
        found |= _target(fields, metric, target, "max" in found)
    return found


def _check_bounds(fields: Fields, least: int | None, most: int | None) -> None:
    for key, value in (("minReplicas", least), ("maxReplicas", most)):
        if value is not None and value < 0:
            fields.mistake("must be at least 0", key)
        elif value is not None and value > MOST:
            fields.mistake(f"{value} is over the limit of {MOST} replicas", key)
    if least is not None and most and least > most:
        fields.mistake(f"minReplicas, {least}, is above maxReplicas, {most}", "minReplicas")


def _between(fields: Fields, least: int | None, most: int) -> dict[str, Any]:
    if most:
        fields.same("`scaling.max`", "maxReplicas")
        if least is not None:
            fields.same("`scaling.min`", "minReplicas")
        return {"min": 1 if least is None else least, "max": most}
    if "maxReplicas" in fields.data:
        fields.reworded("0 is no bound, as if it were left out", "maxReplicas")
    if least is None:
        return {}
    if least == 0:
        said = "`scaling: {min: 0, max: 1}`, since `maxReplicas` gives no upper bound; raise `max`"
        fields.reworded(said, "minReplicas")
        return {"min": 0, "max": 1}
    said = "`scaling.replicas`, since `maxReplicas` gives no upper bound: for more, set `max`"
    fields.reworded(said, "minReplicas")
    return {"replicas": least}


def _target(fields: Fields, metric: str, target: int | None, is_bounded: bool) -> dict[str, Any]:
    if metric not in ("", _CONCURRENCY):
        fields.leave_out({"scaleMetric": _ONLY_LOAD, "scaleTarget": _ONLY_LOAD})
        return {}
    if metric:
        fields.same("what replicas follow here", "scaleMetric")
    if target is None:
        return {}
    if not 0 < target <= _MOST_TARGET:
        fields.mistake(f"must be from 1 to {_MOST_TARGET}", "scaleTarget")
        return {}
    if not is_bounded:
        said = "needs `scaling.max`, and `maxReplicas` gives none; with it, `target_ongoing`"
        fields.left_out(said, "scaleTarget")
        return {}
    fields.same("`scaling.target_ongoing`", "scaleTarget")
    return {"target_ongoing": target}
