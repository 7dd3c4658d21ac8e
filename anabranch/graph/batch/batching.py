"""Which requests go to a batched node together, and when: pure decisions, apart from any loop.

Requests wait in groups: only those with the same inputs, datatypes and sizes beyond dimension 0
can be one batch. Within a group they stand in order of rank, so that a batch is always a group's
first requests, and the group whose first request ranks first goes first.

The rank of a request is the time that it came at, plus ``STEP`` for each level that its priority
is below the highest. So a request of a higher priority goes before those of lower ones that came
up to some steps earlier, and none waits for ever: whatever comes later than that goes after it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from anabranch.errors import InvalidRequest
from anabranch.specs.models import NodeBase

PRIORITY = "priority"
"""Request parameter, as in Triton: 1 is the highest priority, 0 or nothing the default."""
DEFAULT_LEVEL = 5
LOWEST_LEVEL = 9
STEP = 0.25
"""Head start of each level of priority over the next one, in seconds."""

Rank: TypeAlias = tuple[float, int]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The ``batching`` of a node; times in seconds."""

    max_size: int
    """Most rows in a batch of more than one request."""
    max_delay: float = 0.0
    max_queue: int | None = None
    """Most requests that may wait; None: as many as have ``max_size`` rows together."""


def limits_of(spec: NodeBase) -> BatchLimits:
    """The limits of a node that has ``batching``."""
    batching, timeout = spec.batching, spec.timeout
    assert batching is not None
    delay = batching.max_delay.seconds if batching.max_delay is not None else 0.0
    if timeout is not None:
        delay = min(delay, timeout.seconds / 2)
    return BatchLimits(batching.max_size, delay, batching.max_queue)


@dataclass(slots=True, eq=False)
class Waiting:
    """A request that waits; times in seconds on the monotonic clock."""

    rows: int
    rank: Rank
    due: float
    """When it must not be held any longer for others to join it."""
    deadline: float | None


W = TypeVar("W", bound=Waiting)
Groups: TypeAlias = Mapping[Hashable, Sequence[W]]
"""Requests that wait, in groups of at least one, each in order of rank."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[W]):
    """The first requests of a group: those to ``take``, and those whose time is over."""

    group: Hashable
    take: tuple[W, ...]
    late: tuple[W, ...]
    full: bool
    """Whether no further request fits in, or none that would follow."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is to be started before ``until``, if nothing else happens; None: not at all."""

    until: float | None


def level(parameters: Mapping[str, Any]) -> int:
    """The priority of a request, from 1, the highest, to ``LOWEST_LEVEL``; InvalidRequest."""
    value = parameters.get(PRIORITY, 0)
    if type(value) is not int or value < 0:
        raise InvalidRequest(
            f"parameter {PRIORITY!r} must be a whole number: 1 is the highest priority, "
            f"{LOWEST_LEVEL} the lowest, 0 the default; got {repr(value)[:80]}"
        )
    return min(value, LOWEST_LEVEL) or DEFAULT_LEVEL


def rank(arrived: float, priority: int, number: int) -> Rank:
    """Where the ``number``-th request stands, which came at ``arrived``; lower goes first."""
    return arrived + STEP * (priority - 1), number


def due(arrived: float, deadline: float | None, limits: BatchLimits) -> float:
    """Until when a request may be held: for ``max_delay``, but at most half of its time."""
    held = limits.max_delay
    if deadline is not None:
        held = min(held, (deadline - arrived) / 2)
    return arrived + held


def refuses(requests: int, rows: int, more: int, limits: BatchLimits) -> bool:
    """Whether a request with ``more`` rows may not wait behind ``requests`` with ``rows``."""
    if limits.max_queue is not None:
        return requests >= limits.max_queue
    return requests > 0 and rows + more > limits.max_size


def next_batch(groups: Groups[W], now: float, limits: BatchLimits, busy: bool) -> Batch[W] | Hold:
    """Return the batch for the component's next call, or the time until which to hold.

    ``busy`` says that the component is in another call: then only a full batch goes beside that
    call, for other requests gather while they wait. Else the first group goes whose batch is full
    or due. A batch may hold nothing but late requests, which are dropped.
    """
    until = math.inf
    for group in sorted(groups, key=lambda each: groups[each][0].rank):
        batch = _first(group, groups[group], now, limits.max_size)
        if batch.full or not batch.take:
            return batch
        if busy:
            continue
        latest = min(each.due for each in batch.take)
        if latest <= now or _crowded(groups, limits):
            return batch
        until = min(until, latest)
    return Hold(None if until == math.inf else until)


def _first(group: Hashable, queue: Sequence[W], now: float, size: int) -> Batch[W]:
    """As many requests of a group as fit; one alone may have more rows than ``size``."""
    take: list[W] = []
    late: list[W] = []
    rows, full = 0, False
    for each in queue:
        if each.deadline is not None and each.deadline <= now:
            late.append(each)
            continue
        full = full or (bool(take) and rows + each.rows > size)
        if full:
            break
        take.append(each)
        rows += each.rows
        full = rows >= size
    return Batch(group, tuple(take), tuple(late), full)


def _crowded(groups: Groups[W], limits: BatchLimits) -> bool:
    """Return whether no further request may wait, so that holding would only refuse."""
    return limits.max_queue is not None and sum(map(len, groups.values())) >= limits.max_queue


def halves(part: Sequence[W]) -> tuple[Sequence[W], Sequence[W]]:
    """The two halves of at least two requests, by count."""
    middle = (len(part) + 1) // 2
    return part[:middle], part[middle:]


def total(part: Iterable[Waiting]) -> int:
    """The rows of some requests."""
    return sum(each.rows for each in part)
