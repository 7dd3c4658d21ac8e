"""The bounds on warm revisions: the oldest beyond them go before their grace period is over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from anabranch.control.lifecycle.operations import LINGER, Change, Moment, Note, Situation


@dataclass(frozen=True)
class WarmBounds:
    """The ``most`` warm revisions of an engine, and the bytes of ``memory`` that they may take."""

    most: int
    memory: float = math.inf


def beyond(
    situations: Iterable[Situation],
    bounds: WarmBounds,
    at: float,
    memory: Mapping[tuple[str, int], int],
    held: Mapping[str, frozenset[int]] = MappingProxyType({}),
) -> list[tuple[str, int, str]]:
    """Return the warm revisions that are to go so that the bounds hold: graph, number and why.

    Those first whose grace period ends first. Those that are about to go anyway are not among them.
    ``memory``: the bytes that revisions take, by graph and number, as far as they are known.
    Those that are ``held``, by graph, stay, and do not count.
    """
    warm = sorted(
        (member.expires_at or 0.0, now.graph, number)
        for now in situations
        for number, member in now.members.items()
        if member.state == "warm" and number not in held.get(now.graph, frozenset())
    )
    left, taken = len(warm), sum(memory.get(one[1:], 0) for one in warm)
    found = []
    for expires, graph, number in warm:
        why = _excess(left, taken, bounds)
        if not why:
            break
        left, taken = left - 1, taken - memory.get((graph, number), 0)
        if expires > at + LINGER:
            found.append((graph, number, why))
    return found


def _excess(count: int, taken: int, bounds: WarmBounds) -> str:
    """Return which bound so many revisions exceed; nothing if none."""
    if count > bounds.most:
        return f"more than {bounds.most} revisions of the engine were warm"
    if taken > bounds.memory:
        limit, took = (f"{one / 2**20:.0f} MiB" for one in (bounds.memory, taken))
        return f"the warm revisions of the engine took {took} of memory, over the limit of {limit}"
    return ""


def hastened(now: Situation, moment: Moment, number: int, why: str) -> Change:
    """Let a warm revision go as soon as no router sends it anything; no effect on any other."""
    member = now.members.get(number)
    soon = moment.at + LINGER
    if member is None or member.state != "warm" or (member.expires_at or 0.0) <= soon:
        return Change(now)
    early = replace(member, expires_at=soon, reason=f"{member.reason}; gone early: {why}")
    note = Note(number, "warm_limit", why)
    return Change(replace(now, members={**now.members, number: early}), (note,))
