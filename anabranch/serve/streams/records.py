"""The records that cross processes beside plain data and arrays, and errors.

A record goes by its place in ``RECORDS``, for both ends of a connection are of one version. Times
on the clock of one process mean nothing to another, so a ``Context`` crosses with the seconds that
remain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, cast

from msgspec.structs import replace

from anabranch.components.annotations import Annotations, Measure, Names, Tag, Tags
from anabranch.components.contract import Choice, Context, NodeFeedback
from anabranch.errors import AnabranchError, Position, Problem
from anabranch.graph.calls.annotated import AnnotatedValue
from anabranch.graph.calls.values import Skipped
from anabranch.graph.explain.answers import ExplainerReply
from anabranch.router.http.headers import RequestHeaders
from anabranch.router.inference.contract import Evaluated, Verdict
from anabranch.specs.models import Compare
from anabranch.telemetry.trace import Trace


@dataclass(frozen=True, slots=True)
class Record:
    """How objects of a class are taken apart, and made again."""

    cls: type
    take: Callable[[Any], Sequence[Any]]
    make: Callable[..., Any]


def _take_context(context: Context) -> tuple[Any, ...]:
    headers = context.headers
    return (
        context.id,
        headers if type(headers) is RequestHeaders else dict(headers.items()),
        dict(context.parameters),
        *(context.remaining(), context.path, context.trace, context.is_traffic),
        _asked(context.annotations),
    )


def _asked(annotations: Annotations) -> Annotations | None:
    """Return annotations as they go with a request: what is recorded elsewhere stays there."""
    if annotations.values:
        return replace(annotations, values={})
    return annotations or None


def _make_context(
    name: str,
    headers: dict[str, str],
    parameters: dict[str, Any],
    remaining: float | None,
    path: dict[str, str],
    trace: Trace | None,
    is_traffic: bool,
    annotations: Annotations | None,
) -> Context:
    deadline = None if remaining is None else time.monotonic() + remaining
    given = Annotations() if annotations is None else annotations
    return Context(name, headers, parameters, deadline, path, trace, is_traffic, given)


def _take_annotations(annotations: Annotations) -> tuple[Any, ...]:
    measures = [list(one) for one in annotations.measures]
    rest = annotations.values, annotations.caches
    return dict(annotations.tags), dict(annotations.names), measures, *rest


def _make_annotations(
    tags: dict[str, Tag],
    names: dict[str, list[str]],
    measures: list[Any],
    values: dict[str, Any] | None,
    caches: dict[str, str],
) -> Annotations:
    found = [Measure(*one) for one in measures]
    return Annotations(Tags(tags), Names(names), found, values, caches=caches)


@lru_cache(16)
def _make_compare(rtol: float, atol: float) -> Compare:
    """Return a rule, which is the same with each copy for a mirror."""
    return Compare(rtol=rtol, atol=atol)


def _of_fields(cls: Any) -> Record:
    names: tuple[str, ...] = cls.__match_args__
    if len(names) == 1:
        (name,) = names
        return Record(cls, lambda value: (getattr(value, name),), cls)
    return Record(cls, attrgetter(*names), cls)


RECORDS = (
    Record(Context, _take_context, _make_context),
    Record(Annotations, _take_annotations, _make_annotations),
    Record(Choice, lambda choice: (str(choice), choice.features), Choice),
    Record(Compare, attrgetter("rtol", "atol"), _make_compare),
    *map(
        _of_fields,
        (
            Trace,
            Skipped,
            AnnotatedValue,
            Evaluated,
            Verdict,
            ExplainerReply,
            Problem,
            Position,
            NodeFeedback,
        ),
    ),
)


def take_error(error: AnabranchError) -> tuple[list[str], tuple[Any, ...]]:
    """Return the names of an error's class and of its bases, the first one first, and arguments.

    They are those with which it would be pickled. A traceback, a cause and notes stay behind.
    """
    cls: type
    args: tuple[Any, ...]
    cls, args, *_ = cast(tuple[Any, ...], error.__reduce__())
    names = [_name(base) for base in cls.__mro__ if issubclass(base, AnabranchError)]
    return names, args


def make_error(names: Sequence[str], args: Sequence[Any]) -> AnabranchError:
    """Return the error again, of the first of the classes that is there and takes the arguments.

    Only classes that this process has loaded count: a component's own may exist in its replica
    alone.
    """
    for name in names:
        cls = _error_class(name)
        try:
            if cls is not None:
                return cls(*args)
        except TypeError:
            continue
    return AnabranchError(*args)


_CLASSES: dict[str, type[AnabranchError]] = {}


def _error_class(name: str) -> type[AnabranchError] | None:
    found = _CLASSES.get(name)
    if found is None:
        _CLASSES.update({_name(cls): cls for cls in _loaded(AnabranchError)})
        found = _CLASSES.get(name)
    return found


def _loaded(cls: type[AnabranchError]) -> Iterator[type[AnabranchError]]:
    yield cls
    for below in cls.__subclasses__():
        yield from _loaded(below)


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
