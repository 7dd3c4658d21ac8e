"""The bound on warm revisions: the oldest beyond it go before their grace period is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from anabranch.control.lifecycle.operations import LINGER, Change, Moment, Note, Situation


def beyond(situations: Iterable[Situation], most: int, at: float) -> list[tuple[str, int]]:
    """Return the warm revisions, as graph and number, that are to go so that ``most`` are left.

    Those first whose grace period ends first. Those that are about to go anyway are not among them.
    """
    warm = sorted(
        (member.expires_at or 0.0, now.graph, number)
        for now in situations
        for number, member in now.members.items()
        if member.state == "warm"
    )
    excess = warm[: max(0, len(warm) - most)]
    return [(graph, number) for expires, graph, number in excess if expires > at + LINGER]


def hastened(now: Situation, moment: Moment, number: int, most: int) -> Change:
    """Let a warm revision go as soon as no router sends it anything; no effect on any other."""
    member = now.members.get(number)
    soon = moment.at + LINGER
    if member is None or member.state != "warm" or (member.expires_at or 0.0) <= soon:
        return Change(now)
    why = f"more than {most} revisions of the engine were warm"
    early = replace(member, expires_at=soon, reason=f"{member.reason}; gone early: {why}")
    note = Note(number, "warm_limit", why)
    return Change(replace(now, members={**now.members, number: early}), (note,))
