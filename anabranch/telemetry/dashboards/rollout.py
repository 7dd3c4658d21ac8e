"""The dashboard of one rollout: the candidate against the stable revision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from anabranch.telemetry import definitions as d
from anabranch.telemetry.dashboards.grafana import SHOWN, Dashboard, Section, Variable
from anabranch.telemetry.dashboards.grafana import GrafanaPanel as Panel
from anabranch.telemetry.dashboards.promql import Expr, Queries, per, share

_SCOPE = ('graph="$graph"',)
_graph = Queries(_SCOPE)
_candidate = Queries((*_SCOPE, 'revision="$candidate"'))
_stable = Queries((*_SCOPE, 'revision="$stable"'))
_both = Queries((*_SCOPE, 'revision=~"$candidate|$stable"'), ("revision",), "r{revision}")


def _against(make: Callable[[Queries], Expr]) -> tuple[Expr, ...]:
    """Return the same expression of both revisions."""
    return make(_candidate).called("candidate"), make(_stable).called("stable")


def _latency(title: str, part: float) -> Panel:
    return Panel(title, "s", _against(lambda arm: arm.quantile(part, d.ARM_LATENCY)))


def _first_token(title: str, part: float) -> Panel:
    return Panel(title, "s", _against(lambda arm: arm.quantile(part, d.ARM_FIRST_TOKEN)))


def _token_rate(arm: Queries) -> Expr:
    completion = replace(arm, scope=(*arm.scope, 'kind="completion"'))
    return per(completion.rate(d.ARM_TOKENS), arm.rate(d.ARM_GENERATION_SECONDS))


_COURSE = Section(
    "Course",
    Panel("State", "short", _graph.level(d.ROLLOUT_STATE, "state"), kind="state-timeline"),
    Panel(
        "The candidate's share of the traffic",
        "percentunit",
        (
            _candidate.level(d.ARM_WEIGHT).called("by weight"),
            share(_candidate.rate(d.ARM_REQUESTS), _graph.rate(d.ARM_REQUESTS)).called("measured"),
        ),
    ),
    Panel("Step", "percent", _graph.level(d.ROLLOUT_STEP, "revision").called("r{revision}")),
    widths=(12, 6, 6),
)
_EVIDENCE = Section(
    "Candidate against stable",
    Panel("Requests", "reqps", _against(lambda arm: arm.rate(d.ARM_REQUESTS))),
    Panel(
        "Share of errors",
        "percentunit",
        _against(lambda arm: share(arm.rate(d.ARM_ERRORS), arm.rate(d.ARM_REQUESTS))),
    ),
    Panel("Errors by kind", "reqps", _both.rate(d.ARM_ERRORS, "kind")),
    _latency("Median latency", 0.5),
    _latency("95th percentile", 0.95),
    _latency("99th percentile", 0.99),
    _first_token("Median to the first token", 0.5),
    _first_token("95th percentile to the first token", 0.95),
    Panel("Tokens per second of an answer", "cps", _against(_token_rate)),
    Panel(
        "Agreement of the mirrored candidate",
        "percentunit",
        per(_candidate.rate(d.MIRROR_AGREED), _candidate.rate(d.MIRROR_COMPARED)).called("agreed"),
    ),
    Panel(
        "Drift",
        "short",
        _both.level(d.MONITOR_SCORE, "monitor").called("{monitor} r{revision}"),
        alarm=1,
    ),
    Panel(
        "Mean reward",
        "short",
        _against(lambda arm: per(arm.change(d.ARM_REWARD_SUM), arm.increase(d.ARM_REWARDS))),
        note=SHOWN,
        signed=True,
    ),
)
_VERDICTS = Section(
    "Verdicts",
    Panel("Looks by verdict", "cps", _graph.rate(d.ROLLOUT_VERDICTS, "metric", "verdict")),
    Panel(
        "Looks over the time shown",
        "short",
        _graph.increase(d.ROLLOUT_VERDICTS, "metric", "verdict").called(""),
        kind="table",
    ),
    widths=(12,),
)

_CANDIDATES, _REVISIONS = _graph.series(d.ROLLOUT_STEP), _graph.series(d.ARM_WEIGHT)
ROLLOUT = Dashboard(
    "rollout",
    "anabranch: one rollout",
    "The candidate of a rollout against the stable revision, and the verdicts on it.",
    (
        Variable("graph", "Graph", Queries().series(d.ROLLOUT_STATE), "graph"),
        Variable("candidate", "Candidate", _CANDIDATES, "revision", newest=True),
        Variable("stable", "Stable", _REVISIONS, "revision"),
    ),
    (_COURSE, _EVIDENCE, _VERDICTS),
)
