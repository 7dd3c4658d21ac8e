"""Replicas of pods, HorizontalPodAutoscaler and KEDA as ``scaling``.

``operator/controllers/seldondeployment_controller.go``: KEDA comes before an HPA, and both before
``replicas``, of which that of the pod wins over the predictor's, and this over the deployment's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anabranch.importers.fields import Fields

MOST = 1000
"""Most replicas of a segment."""
_KEDA_MAX = 100
"""``maxReplicaCount`` of KEDA where it is left out."""
_BY_LOAD = "replicas follow the requests in progress: set `scaling.target_ongoing`"


def pod_scaling(pod: Fields, wider: Sequence[Fields]) -> dict[str, Any] | None:
    """Return the scaling of a pod; None where nothing says how many replicas it has.

    ``wider`` are the maps whose ``replicas`` hold where the pod has none, the nearest one first.
    """
    keda, hpa = pod.within("kedaSpec"), pod.within("hpaSpec")
    own = fixed(pod)
    if pod.has("kedaSpec"):
        if pod.has("hpaSpec"):
            pod.left_out("KEDA comes before it", "hpaSpec")
        return _keda(keda)
    if pod.has("hpaSpec"):
        return _hpa(hpa)
    return own or next(filter(None, map(fixed, wider)), None)


def fixed(owner: Fields) -> dict[str, Any] | None:
    """Return the scaling of ``replicas``; None if the field is left out."""
    count = owner.whole("replicas")
    if count is None:
        return None
    if count < 0:
        owner.mistake("must be at least 0", "replicas")
        return None
    if count == 0:
        owner.reworded("`scaling: {min: 0, max: 1}`: a request wakes what sleeps", "replicas")
        return {"min": 0, "max": 1}
    return {"replicas": _at_most(owner, "replicas", count)}


def _hpa(hpa: Fields) -> dict[str, Any]:
    least, most = hpa.whole("minReplicas"), hpa.whole("maxReplicas")
    if most is None:
        hpa.mistake("is required", "maxReplicas")
    scaling = _between(hpa, ("minReplicas", least, 1), ("maxReplicas", most, 1))
    hpa.leave_out({"metrics": _BY_LOAD, "metricsv2": _BY_LOAD})
    hpa.finish()
    return scaling


def _keda(keda: Fields) -> dict[str, Any]:
    least, most = keda.whole("minReplicaCount"), keda.whole("maxReplicaCount")
    scaling = _between(keda, ("minReplicaCount", least, 0), ("maxReplicaCount", most, _KEDA_MAX))
    cooldown = keda.whole("cooldownPeriod")
    if cooldown is not None and cooldown > 0:
        scaling["downscale_delay"] = f"{cooldown}s"
        keda.reworded("`scaling.downscale_delay`", "cooldownPeriod")
    if not keda.has("triggers"):
        keda.mistake("is required", "triggers")
    keda.leave_out(
        {
            "cooldownPeriod": "no replica is removed before `downscale_delay`",
            "pollingInterval": "the load is looked at all the time",
            "triggers": f"{_BY_LOAD}, or known peaks in `scaling.schedule`",
            "advanced": "`scaling.upscale_delay` and `downscale_delay` say how fast",
            "idleReplicaCount": "replicas go down to `min` where there is no load",
            "fallback": "routers count requests themselves, so no metric can be away",
        }
    )
    keda.finish()
    return scaling


def _between(
    fields: Fields, least: tuple[str, int | None, int], most: tuple[str, int | None, int]
) -> dict[str, Any]:
    """Return ``min`` and ``max`` from (field, value, value where it is left out)."""
    low = least[2] if least[1] is None else least[1]
    high = max(low, most[2]) if most[1] is None else most[1]
    if low < 0:
        fields.mistake("must be at least 0", least[0])
    if high < max(low, 1):
        fields.mistake(f"must be at least {max(low, 1)}", most[0])
    for key, ours in ((least[0], "min"), (most[0], "max")):
        if fields.has(key) or key in fields.data:
            fields.same(f"`scaling.{ours}`", key)
    high = _at_most(fields, most[0], max(high, 1))
    return {"min": max(0, min(low, high)), "max": high}


def _at_most(fields: Fields, key: str, count: int) -> int:
    if count > MOST:
        fields.mistake(f"{count} is over the limit of {MOST} replicas", key)
    return min(count, MOST)


def note_replicas(owner: Fields, text: str) -> None:
    """Note ``replicas`` of a map, where it is there and above 0."""
    if (owner.whole("replicas") or 0) > 0:
        owner.same(text, "replicas")
