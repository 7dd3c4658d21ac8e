"""Rules over several fields of a rollout.

Above all: which limits suit which metric. A latency has a unit, since a bare number could be
seconds or milliseconds; a share lies between 0 and 1; and where a metric is a comparison with the
stable revision already, its limit is no multiple of the stable one's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError

from anabranch.errors import Mistake
from anabranch.specs.excerpts import clean, nearest
from anabranch.specs.limits import parse_limit
from anabranch.specs.models import METRICS, Limit
from anabranch.specs.unvalidated import Map, as_list, as_map, as_number, some_time, under

_LIMIT: TypeAdapter[float | str] = TypeAdapter(Limit)
_METRIC = ("metric", "max", "min", "query", "of", "error")
_SHARE_WORDS = "a share from 0 to 1, such as 0.01"
_LATENCY_WORDS = "a latency with its unit, such as 250ms, or a multiple of stable, such as 1.2x"


def rollout_rules(rollout: Map) -> Iterator[Mistake]:
    """Every rule that a rollout breaks; its parts may be anything."""
    analysis = as_map(rollout.get("analysis"))
    metrics = as_list(analysis.get("metrics"))
    yield from under(("steps",), _increasing(as_list(rollout.get("steps"))))
    yield from under(("analysis",), some_time(analysis, "interval"))
    for index, item in enumerate(metrics):
        yield from under(("analysis", "metrics", index), _metric(as_map(item)))
    yield from _mirrored(rollout, metrics)


def _increasing(steps: list[Any]) -> Iterator[Mistake]:
    for index, pair in enumerate(pairwise(steps), start=1):
        before, step = map(as_number, pair)
        if before is not None and step is not None and not before < step:
            yield (index,), f"must be more than the step before it, {clean(str(pair[0]))}"


def _mirrored(rollout: Map, metrics: list[Any]) -> Iterator[Mistake]:
    judged = any(as_map(item).get("metric") == "agreement" for item in metrics)
    if judged and as_number(rollout.get("mirror")) == 0:
        yield ("mirror",), "`agreement` is judged on copies; remove this, or make it more than 0"


def _metric(metric: Map) -> Iterator[Mistake]:
    name = metric.get("metric")
    meant = {nearest(field, _METRIC) or field for field in metric}
    if "metric" in metric and not {"min", "max"} & meant:
        yield (), "needs `max` or `min`, the limit to hold"
    if name not in METRICS:
        return
    if name == "promql" and "query" not in meant:
        yield (), "the metric promql needs `query`"
    if name != "promql" and "query" in metric:
        yield ("query",), "only the metric promql has a query"
    yield from _significance(metric, name, meant)
    yield from _limits(metric, _SUITS[name])


def _significance(metric: Map, name: str, meant: set[str]) -> Iterator[Mistake]:
    """A difference has one limit, on the side where the candidate is worse."""
    if name != "significance":
        for field in ("of", "error"):
            if field in metric:
                yield (field,), f"only the metric significance has `{field}`"
        return
    if "of" not in meant:
        yield (), "the metric significance needs `of`, either error_rate or reward"
    wrong = {"error_rate": "min", "reward": "max"}.get(str(metric.get("of")), "")
    if wrong in metric:
        right = "max" if wrong == "min" else "min"
        yield (wrong,), f"a candidate is worse beyond `{right}`; give that, and not `{wrong}`"


def _limits(metric: Map, suits: Suits) -> Iterator[Mistake]:
    """Yield the mistakes in a metric's limits, as far as these have the right form."""
    parsed = {}
    for field in ("min", "max"):
        try:
            limit = _LIMIT.validate_python(metric.get(field))
        except ValidationError:
            continue
        try:
            parsed[field] = parse_limit(limit)
        except ValueError as error:
            yield (field,), str(error)
            continue
        for message in suits(limit, parsed[field][0]):
            yield (field,), message
    yield from _in_order(metric, parsed)


def _in_order(metric: Map, parsed: Mapping[str, tuple[bool, float]]) -> Iterator[Mistake]:
    if len(parsed) < 2:
        return
    (relative, low), (also_relative, high) = parsed["min"], parsed["max"]
    if relative == also_relative and low > high:
        smaller, larger = clean(str(metric["max"])), clean(str(metric["min"]))
        yield ("min",), f"min {larger} is more than max {smaller}"


def _latency(limit: Limit, relative: bool) -> Iterator[str]:
    if not isinstance(limit, str):
        yield f"{limit:g} has no unit: write {_LATENCY_WORDS}"


def _rate(limit: Limit, relative: bool) -> Iterator[str]:
    if not relative and _no_share(limit):
        yield f"must be {_SHARE_WORDS}, or a multiple of stable, such as 1.2x"


def _share(limit: Limit, relative: bool) -> Iterator[str]:
    if _no_share(limit):
        yield f"must be {_SHARE_WORDS}"


def _no_share(limit: Limit) -> bool:
    return isinstance(limit, str) or not 0 <= limit <= 1


def _any_number(limit: Limit, relative: bool) -> Iterator[str]:
    if isinstance(limit, str) and not relative:
        yield "must be a number, or a multiple of stable, such as 1.2x"


def _speed(limit: Limit, relative: bool) -> Iterator[str]:
    if not relative and (isinstance(limit, str) or limit < 0):
        yield "must be tokens per second, such as 20, or a multiple of stable, such as 0.9x"


def _score(limit: Limit, relative: bool) -> Iterator[str]:
    if isinstance(limit, str) or limit < 0:
        yield "must be a score, such as 1, above which there is drift"


def _difference(limit: Limit, relative: bool) -> Iterator[str]:
    if isinstance(limit, str) or not -1 < limit < 1:
        yield "must be a difference between -1 and 1, candidate minus stable, such as 0.01"


Suits: TypeAlias = Callable[[Limit, bool], Iterator[str]]
_SUITS: Mapping[str, Suits] = {
    "error_rate": _rate,
    "latency_p50": _latency,
    "latency_p95": _latency,
    "latency_p99": _latency,
    "ttft_p50": _latency,
    "ttft_p95": _latency,
    "ttft_p99": _latency,
    "tokens_per_second": _speed,
    "agreement": _share,
    "prediction_shift": _share,
    "reward": _any_number,
    "drift": _score,
    "significance": _difference,
    "promql": _any_number,
}
