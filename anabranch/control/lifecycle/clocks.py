"""What a new controller makes of times in the store that are still to come by its own clock.

Somebody has put the clock back meanwhile, or the store is from a machine whose clock is ahead. What
began in the future counts from now: a step does not wait until that time comes.
"""

from __future__ import annotations

from dataclasses import replace

from anabranch.control.lifecycle.operations import LINGER, Change, Moment, Note, Situation


def is_ahead(now: Situation, at: float) -> bool:
    """Return whether anything in a situation began after ``at``, a Unix time."""
    return any(start > at for start in _starts(now))


def timely(now: Situation, moment: Moment) -> Change:
    """Let what began in the future begin now; no effect without such.

    Warm revisions stay for the grace period at most, since theirs began with something else.
    """
    if not is_ahead(now, moment.at):
        return Change(now)
    latest = moment.at + max(moment.grace, LINGER)
    members = {
        number: replace(
            member,
            live_at=_at_most(member.live_at, moment.at),
            expires_at=_at_most(member.expires_at, latest),
        )
        for number, member in now.members.items()
    }
    rollout = now.rollout and replace(
        now.rollout,
        since=min(now.rollout.since, moment.at),
        looked_at=min(now.rollout.looked_at, moment.at),
        paused_at=_at_most(now.rollout.paused_at, moment.at),
    )
    said = f"the clock was put back by {max(_starts(now)) - moment.at:.0f}s or more: counting anew"
    after = replace(now, members=members, rollout=rollout)
    return Change(after, (Note(None, "clock_put_back", said),))


def _starts(now: Situation) -> list[float]:
    starts = [member.live_at for member in now.members.values() if member.live_at is not None]
    if now.rollout is not None and now.rollout.active:
        starts += (now.rollout.since, now.rollout.looked_at)
    return starts


def _at_most(time: float | None, latest: float) -> float | None:
    return None if time is None else min(time, latest)
