"""Data that travel with a request beside its tensors: tags, names of columns, measures, values.

Components write them by their ``context``. They cross processes with the request and with its
answer, and protocols that have a place for them put them there: the ``meta`` of Seldon Core, the
parameter ``tags`` of the Open Inference Protocol.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

import numpy as np
from msgspec import Struct, field

Array: TypeAlias = np.ndarray[Any, Any]

Tag: TypeAlias = bool | int | float | str
MeasureKind: TypeAlias = Literal["counter", "gauge", "timer"]

MAX_TAGS = 64
"""Most tags of a request."""
MAX_TEXT = 1024
"""Longest text of a tag, in characters; a tag's name and a measure's have at most MAX_NAME."""
MAX_NAME = 128
MAX_MEASURES = 256
"""Most measures of a request."""
MAX_COLUMNS = 4096
"""Most names of a tensor's columns."""
_KINDS = get_args(MeasureKind)
FIRST_RESULT = "first_result"
"""Measure of a node that streams, where its results are joined: a timer until the first of them."""


class Measure(NamedTuple):
    """A number that a component has measured: an increment, a value, or a time in seconds."""

    node: str
    kind: MeasureKind
    name: str
    value: float


class Tags(dict[str, Tag]):
    """Tags by name; the last value of a name counts. Raises TypeError and ValueError for others."""

    __slots__ = ()

    def __setitem__(self, name: str, value: Tag) -> None:
        if not isinstance(value, bool | int | float | str):
            raise TypeError(f"tag {name!r} must be a bool, number or text, not {value!r:.80}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"tag {name!r} must be a finite number, not {value!r}")
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise ValueError(f"tag {name!r} has {len(value)} characters; the limit is {MAX_TEXT}")
        if name not in self and len(self) >= MAX_TAGS:
            raise ValueError(f"tag {name!r:.80} is over the limit of {MAX_TAGS} tags")
        super().__setitem__(_checked_name("tag", name), value)

    def update(self, other: Mapping[str, Tag] = {}, /, **tags: Tag) -> None:  # type: ignore[override]
        """Set several tags."""
        for name, value in {**other, **tags}.items():
            self[name] = value


class Names(dict[str, list[str]]):
    """Names of columns by tensor: of inputs that came with names, of outputs that have some."""

    __slots__ = ()

    def __setitem__(self, tensor: str, names: list[str]) -> None:
        found = list(names)
        if len(found) > MAX_COLUMNS or not all(isinstance(name, str) for name in found):
            raise ValueError(f"names of {tensor!r} must be at most {MAX_COLUMNS} texts")
        super().__setitem__(_checked_name("tensor", tensor), found)


class Annotations(Struct):
    """The tags, names and measures of one request."""

    tags: Tags = field(default_factory=Tags)
    names: Names = field(default_factory=Names)
    measures: list[Measure] = field(default_factory=list)
    values: dict[str, Array] | None = None
    """Values of nodes for the request log, by ``node.output``; None where none are wanted."""
    uncounted: int = 0
    """How many of the last measures no metric of this process has counted yet."""
    caches: dict[str, str] = field(default_factory=dict)
    """How each cache on the way has handled the request, in the terms of RFC 9211: by node, that of
    the whole graph by an empty name."""

    def __bool__(self) -> bool:
        values = self.values is not None
        return bool(self.tags or self.names or self.measures or self.caches or values)

    def measure(self, node: str, name: str, value: float, kind: MeasureKind) -> None:
        """Add a measure of a node; ValueError for one that no metric can hold."""
        if kind not in _KINDS:
            raise ValueError(f"measure {name!r:.80} is a {kind!r:.40}; use {', '.join(_KINDS)}")
        if not math.isfinite(value) or (kind != "gauge" and value < 0):
            raise ValueError(f"measure {name!r:.80} of kind {kind} cannot be {value!r}")
        if len(self.measures) >= MAX_MEASURES:
            raise ValueError(f"measure {name!r:.80} is over the limit of {MAX_MEASURES} a request")
        self.measures.append(Measure(node, kind, _checked_name("measure", name), float(value)))
        self.uncounted += 1

    def to_count(self) -> Iterator[Measure]:
        """Give the measures that no metric of this process has counted yet, each once."""
        while self.uncounted:
            self.uncounted -= 1
            yield self.measures[-1 - self.uncounted]

    def since(self, tags: Mapping[str, Tag], names: Mapping[str, list[str]]) -> Annotations:
        """Return what has been added to the tags and names that a request came here with."""
        return Annotations(
            Tags({name: tag for name, tag in self.tags.items() if not _same(tags, name, tag)}),
            Names({name: found for name, found in self.names.items() if names.get(name) != found}),
            self.measures,
            self.values,
            caches=self.caches,
        )

    def merge(self, others: Annotations) -> None:
        """Take over what another process has added; those measures count there."""
        self.tags.update(others.tags)
        self.caches.update(others.caches)
        for tensor, names in others.names.items():
            self.names[tensor] = names
        if self.values is not None:
            self.values.update(others.values or {})
        room = MAX_MEASURES - len(self.measures)
        kept = len(self.measures) - self.uncounted
        self.measures[kept:kept] = others.measures[:room]

    def join(self, others: Annotations) -> None:
        """Take over what was added beside these in this process; those measures still count."""
        self.tags.update(others.tags)
        for tensor, names in others.names.items():
            self.names[tensor] = names
        added = others.measures[: MAX_MEASURES - len(self.measures)]
        self.measures += added
        self.uncounted += len(added)


def _same(tags: Mapping[str, Tag], name: str, tag: Tag) -> bool:
    return name in tags and type(tags[name]) is type(tag) and tags[name] == tag


def _checked_name(kind: str, name: str) -> str:
    if not isinstance(cast(object, name), str) or not 0 < len(name) <= MAX_NAME:
        raise ValueError(f"the name of a {kind} must be a text of 1 to {MAX_NAME} characters")
    return name
