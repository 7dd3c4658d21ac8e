"""The dashboard of one rollout: the candidate against the stable revision."""

from __future__ import annotations

from collections.abc import Callable

from anabranch.telemetry import definitions as d
from anabranch.telemetry.dashboards.grafana import Dashboard, GrafanaPanel, Query, Section, Variable
from anabranch.telemetry.dashboards.promql import (
    Expr,
    Scope,
    change,
    increase,
    level,
    per,
    quantile,
    rate,
    series,
    share,
)

_GRAPH: Scope = ('graph="$graph"',)
_CANDIDATE: Scope = (*_GRAPH, 'revision="$candidate"')
_STABLE: Scope = (*_GRAPH, 'revision="$stable"')
_BOTH: Scope = (*_GRAPH, 'revision=~"$candidate|$stable"')
_REVISION = "r{{revision}}"


def _against(make: Callable[[Scope], Expr]) -> tuple[Query, ...]:
    """The same of both revisions."""
    return (Query(make(_CANDIDATE), "candidate"), Query(make(_STABLE), "stable"))


def _latency(title: str, part: float) -> GrafanaPanel:
    return GrafanaPanel(
        title, "s", _against(lambda scope: quantile(part, d.ARM_LATENCY, scope=scope))
    )


_COURSE = Section(
    "Course",
    (
        GrafanaPanel(
            "State",
            "short",
            (Query(level(d.ROLLOUT_STATE, "state", scope=_GRAPH), "{{state}}"),),
            kind="state-timeline",
            width=12,
        ),
        GrafanaPanel(
            "The candidate's share of the traffic",
            "percentunit",
            (
                Query(level(d.ARM_WEIGHT, scope=_CANDIDATE), "by weight"),
                Query(
                    share(
                        rate(d.ARM_REQUESTS, scope=_CANDIDATE), rate(d.ARM_REQUESTS, scope=_GRAPH)
                    ),
                    "measured",
                ),
            ),
            width=6,
        ),
        GrafanaPanel(
            "Step",
            "percent",
            (Query(level(d.ROLLOUT_STEP, "revision", scope=_GRAPH), _REVISION),),
            width=6,
        ),
    ),
)

_EVIDENCE = Section(
    "Candidate against stable",
    (
        GrafanaPanel(
            "Requests",
            "reqps",
            _against(lambda scope: rate(d.ARM_REQUESTS, scope=scope)),
        ),
        GrafanaPanel(
            "Share of errors",
            "percentunit",
            _against(
                lambda scope: share(
                    rate(d.ARM_ERRORS, scope=scope), rate(d.ARM_REQUESTS, scope=scope)
                )
            ),
        ),
        GrafanaPanel(
            "Errors by kind",
            "reqps",
            (
                Query(
                    rate(d.ARM_ERRORS, "revision", "kind", scope=_BOTH),
                    f"{_REVISION} {{{{kind}}}}",
                ),
            ),
        ),
        _latency("Median latency", 0.5),
        _latency("95th percentile", 0.95),
        _latency("99th percentile", 0.99),
        GrafanaPanel(
            "Agreement of the mirrored candidate",
            "percentunit",
            (
                Query(
                    per(
                        rate(d.MIRROR_AGREED, scope=_CANDIDATE),
                        rate(d.MIRROR_COMPARED, scope=_CANDIDATE),
                    ),
                    "agreed",
                ),
            ),
        ),
        GrafanaPanel(
            "Drift",
            "short",
            (
                Query(
                    level(d.MONITOR_SCORE, "revision", "monitor", scope=_BOTH),
                    f"{{{{monitor}}}} {_REVISION}",
                ),
            ),
            alarm=1,
        ),
        GrafanaPanel(
            "Mean reward",
            "short",
            _against(
                lambda scope: per(
                    change(d.ARM_REWARD_SUM, scope=scope), increase(d.ARM_REWARDS, scope=scope)
                )
            ),
            note="Over the time shown.",
            signed=True,
        ),
    ),
)

_VERDICTS = Section(
    "Verdicts",
    (
        GrafanaPanel(
            "Looks by verdict",
            "cps",
            (
                Query(
                    rate(d.ROLLOUT_VERDICTS, "metric", "verdict", scope=_GRAPH),
                    "{{metric}} {{verdict}}",
                ),
            ),
            width=12,
        ),
        GrafanaPanel(
            "Looks over the time shown",
            "short",
            (Query(increase(d.ROLLOUT_VERDICTS, "metric", "verdict", scope=_GRAPH), ""),),
            kind="table",
            width=12,
        ),
    ),
)

ROLLOUT = Dashboard(
    "rollout",
    "anabranch: one rollout",
    "The candidate of a rollout against the stable revision, and the verdicts on it.",
    (
        Variable("graph", "Graph", series(d.ROLLOUT_STATE), "graph"),
        Variable("candidate", "Candidate", series(d.ROLLOUT_STEP, _GRAPH), "revision", newest=True),
        Variable("stable", "Stable", series(d.ARM_WEIGHT, _GRAPH), "revision"),
    ),
    (_COURSE, _EVIDENCE, _VERDICTS),
)
