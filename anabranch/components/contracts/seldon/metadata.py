"""Tags, metrics and names of columns that Seldon's components give beside their results."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np
import orjson

from anabranch.components.annotations import MAX_COLUMNS, MeasureKind
from anabranch.components.contract import Context
from anabranch.components.contracts.seldon.calling import asked
from anabranch.specs.excerpts import shown

_KINDS: dict[str, MeasureKind] = {"COUNTER": "counter", "GAUGE": "gauge", "TIMER": "timer"}
_MILLISECONDS = 1000.0
"""Of a second: the unit of Seldon's timers (``SeldonMetrics.update`` in ``metrics.py``)."""


class BadMetric(ValueError):
    """A component gave metrics that Seldon's wrapper does not take either."""


def put_names(context: Context, node: str, names: Sequence[str]) -> None:
    """Name the columns of a node's output, unless they are more than can be named."""
    if 0 < len(names) <= MAX_COLUMNS:
        context.names[node] = list(names)


def meta_of(context: Context | None) -> dict[str, Any] | None:
    """Return the ``meta`` of a request: its id as ``puid``, and the tags that it has so far."""
    if context is None:
        return None
    return {"puid": context.id, "tags": dict(context.tags), "routing": {}, "requestPath": {}}


def put_tags(context: Context, tags: Mapping[str, Any]) -> None:
    """Add tags to those of the request; values that are no scalars as JSON text."""
    for key, value in tags.items():
        context.tags[str(key)] = _scalar(value)


def _scalar(value: Any) -> bool | int | float | str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float | str):
        return value
    return orjson.dumps(
        value, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    ).decode()


def measure(context: Context, metrics: Any) -> None:
    """Count metrics; raise BadMetric where ``validate_metrics`` in ``metrics.py`` refuses them."""
    for key, value, kind in _measures(metrics):
        context.measure(key, value, kind)


def _measures(metrics: Any) -> Iterator[tuple[str, float, MeasureKind]]:
    if not isinstance(metrics, list):
        raise BadMetric(f"metrics must be a list, and are {shown(metrics)}")
    for one in metrics:
        fields: Mapping[str, Any] = one if isinstance(one, Mapping) else {}
        key, value = fields.get("key"), fields.get("value")
        kind = _KINDS.get(str(fields.get("type")))
        if not isinstance(key, str) or not isinstance(value, Real) or kind is None:
            raise BadMetric(
                f"the metric {shown(one)} needs a `key`, a number as `value`, and a `type`: "
                f"{', '.join(_KINDS)}"
            )
        yield key, float(value) / (_MILLISECONDS if kind == "timer" else 1.0), kind


def columns(component: Any, shape: Sequence[int]) -> Sequence[str]:
    """Return the names of a result's columns: ``class_names`` of the component, or ``t:0``….

    Results of one dimension or none have no names (``client_class_names`` in ``user_model.py``).
    """
    if len(shape) < 2:
        return ()
    own = getattr(component, "class_names", None)
    if inspect.ismethod(own):
        own = asked(own)
    return _numbered(shape[1]) if own is None else [str(one) for one in own]


@lru_cache(maxsize=64)
def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"t:{index}" for index in range(count))
