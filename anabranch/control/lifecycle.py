"""What may happen to the revisions of a graph: pure functions from one situation to the next.

| state | the revision |
|---|---|
| pending, deploying | is on its way, and will do what its intent says once it is up |
| ready | is up: an arm beside the stable one, of whatever weight, or a mirror |
| live | is the stable one; exactly one, or none before the first |
| warm | was replaced or aborted, and stays up until its grace period is over |
| retired | was up once, and is down |
| failed | never came up, or was given up for a newer one |

Times are Unix times; ``grace`` is in seconds. Operations raise InvalidRequest or NotFound for what
makes no sense, and Conflict for what the situation does not allow; nothing has changed then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from anabranch.control import rollouts
from anabranch.control.rollouts import Measurement, PausedBy, RolloutState
from anabranch.errors import Conflict, InvalidRequest, NotFound
from anabranch.specs.models import Rollout

RevisionState: TypeAlias = Literal[
    "pending", "deploying", "ready", "live", "warm", "retired", "failed"
]
GraphState: TypeAlias = Literal["present", "deleting", "deleted"]
UP: frozenset[RevisionState] = frozenset({"ready", "live", "warm"})
COMING: frozenset[RevisionState] = frozenset({"pending", "deploying"})
LINGER = 2.0
"""Shortest grace period, in seconds: until no router sends anything any more."""


@dataclass(frozen=True)
class Intent:
    """What a revision is deployed for. ``percent`` is of a canary or a mirror."""

    kind: Literal["replace", "canary", "mirror", "rollout"] = "replace"
    percent: float = 100.0
    rollout: Rollout | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able data that ``from_json`` reads back."""
        plan = self.rollout.model_dump(mode="json", exclude_defaults=True) if self.rollout else None
        return {"kind": self.kind, "percent": self.percent, "rollout": plan}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Intent:
        """Read what ``to_json`` wrote."""
        plan = data.get("rollout")
        return cls(data["kind"], data["percent"], Rollout.model_validate(plan) if plan else None)


@dataclass(frozen=True)
class Member:
    """A revision as far as the lifecycle goes."""

    number: int
    state: RevisionState = "pending"
    intent: Intent = Intent()
    reason: str = ""
    expires_at: float | None = None
    """When a warm one goes."""
    live_at: float | None = None
    """When it last became the stable one."""


@dataclass(frozen=True)
class Situation:
    """A graph: its revisions that are up or on their way, and its traffic.

    ``members`` holds retired and failed ones only where an operation has just made them so.
    """

    graph: str
    state: GraphState = "present"
    live: int | None = None
    members: Mapping[int, Member] = field(default_factory=dict)
    weights: Mapping[int, float] = field(default_factory=dict)
    mirrors: Mapping[int, float] = field(default_factory=dict)
    rollout: RolloutState | None = None
    """The last one, also when it is over."""

    @property
    def up(self) -> frozenset[int]:
        """Revisions that run."""
        return frozenset(n for n, member in self.members.items() if member.state in UP)

    @property
    def coming(self) -> tuple[int, ...]:
        """Revisions on their way, oldest first."""
        return tuple(sorted(n for n, member in self.members.items() if member.state in COMING))

    @property
    def candidate(self) -> int | None:
        """The newest arm that is not the stable one."""
        return max((number for number in self.weights if number != self.live), default=None)


@dataclass(frozen=True)
class Note:
    """An event to log; ``notify`` are the URLs to call about it."""

    revision: int | None
    kind: str
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    notify: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """What an operation makes of a situation."""

    situation: Situation
    notes: tuple[Note, ...] = ()


Operation: TypeAlias = Callable[[Situation], Change]


def created(now: Situation, number: int, intent: Intent) -> Change:
    """A new revision was recorded. One that is to take over supersedes those still on their way."""
    gone = now.coming if intent.kind in ("replace", "rollout") else ()
    members = dict(now.members)
    for old in gone:
        members[old] = replace(
            members[old], state="failed", reason=f"superseded by revision {number}"
        )
    members[number] = Member(number, intent=intent)
    notes = [Note(old, "deploy_failed", f"superseded by revision {number}") for old in gone]
    after = replace(now, state="present", members=members)
    return Change(after, (*notes, Note(number, "revision_created", _described(intent))))


def started(now: Situation, number: int) -> Change:
    """A revision is being brought up; no effect unless it is pending."""
    member = now.members.get(number)
    if member is None or member.state != "pending":
        return Change(now)
    return Change(_with(now, replace(member, state="deploying")), (Note(number, "deploy_started"),))


def failed(now: Situation, number: int, reason: str) -> Change:
    """A revision on its way is given up; no effect on any other."""
    member = now.members.get(number)
    if member is None or member.state not in COMING:
        return Change(now)
    after = _with(now, replace(member, state="failed", reason=reason))
    return Change(after, (Note(number, "deploy_failed", reason),))


def arrived(now: Situation, number: int, at: float, grace: float) -> Change:
    """A revision on its way is up: do what it was deployed for. The first one just goes live."""
    member = now.members.get(number)
    if member is None or member.state not in COMING:
        return Change(now)
    up = _with(now, replace(member, state="ready", reason=""))
    if now.live is None or member.intent.kind == "replace":
        return promoted(up, number, at, grace)
    note = Note(number, "ready", _described(member.intent))
    return _and(note, _INTENTS[member.intent.kind](up, member, at, grace))


def _canary(now: Situation, member: Member, at: float, grace: float) -> Change:
    share = member.intent.percent
    total = math.fsum(now.weights.values())
    rest = {number: weight / total * (100 - share) for number, weight in now.weights.items()}
    return _weighted(now, rest | {member.number: share})


def _mirror(now: Situation, member: Member, at: float, grace: float) -> Change:
    return mirrored(now, {member.number: member.intent.percent}, at, grace)


def _rollout(now: Situation, member: Member, at: float, grace: float) -> Change:
    """Only the stable revision and the new one share the traffic of a rollout."""
    assert member.intent.rollout is not None and now.live is not None
    state = rollouts.begin(member.number, member.intent.rollout, at)
    cleared = _over(now, at, f"superseded by the rollout of revision {member.number}")
    alone = _only(cleared.situation, at, grace, f"revision {member.number} is rolled out", state)
    note = _told(state, "rollout_started", f"step 1 of {len(state.plan.steps)}: {state.weight:g} %")
    return Change(_at_step(alone, state), (*cleared.notes, note))


_INTENTS: Mapping[str, Callable[[Situation, Member, float, float], Change]] = {
    "canary": _canary,
    "mirror": _mirror,
    "rollout": _rollout,
}


def promoted(now: Situation, number: int, at: float, grace: float) -> Change:
    """Make a revision that is up the stable one, with all traffic.

    The other arms stay warm for their grace period; mirrors stay mirrors.
    """
    member = _up(now, number)
    state = now.rollout
    notes: tuple[Note, ...] = ()
    if state is not None and state.active and state.revision == number:
        state = replace(state, phase="promoted", paused_by=None, reason="")
        notes = (_told(state, "rollout_promoted", f"revision {number} is the stable one"),)
    else:
        over = _over(now, at, f"revision {number} was promoted")
        state, notes = over.situation.rollout, over.notes
    if now.live == number and dict(now.weights) == {number: 100.0}:
        return Change(replace(now, rollout=state), notes)
    fresh = replace(member, state="live", reason="", expires_at=None, live_at=at)
    after = replace(
        _with(now, fresh), live=number, weights={number: 100.0}, rollout=state,
        mirrors={n: share for n, share in now.mirrors.items() if n != number},
    )  # fmt: skip
    after = _cooled(after, at, grace, f"replaced by revision {number}")
    return Change(after, (*notes, Note(number, "promoted")))


def aborted(now: Situation, at: float, grace: float, reason: str = "") -> Change:
    """Give all traffic back to the stable revision; the other arms stay warm for inspection."""
    if now.live is None:
        raise Conflict(f"graph {now.graph!r} has no live revision to go back to")
    over = _over(now, at, reason or "aborted")
    now = over.situation
    arms = [number for number in now.weights if number != now.live]
    if not arms and not over.notes:
        raise Conflict(f"nothing to abort: revision {now.live} of {now.graph!r} has all traffic")
    after = _only(now, at, grace, f"aborted: {reason}" if reason else "aborted", now.rollout)
    return Change(after, (*over.notes, *(Note(arm, "aborted", reason) for arm in arms)))


def split(now: Situation, weights: Mapping[int, float]) -> Change:
    """Set the weights of arms; arms that are left out get none, and stay arms."""
    _no_rollout(now, "weights")
    for number in weights:
        _up(now, number)
    bad = {n: weight for n, weight in weights.items() if not 0 <= weight < math.inf}
    if bad:
        text = ", ".join(f"r{number}={weight!r}" for number, weight in bad.items())
        raise InvalidRequest(f"weights must be finite and at least 0, got {text}")
    if not 0 < math.fsum(weights.values()) < math.inf:
        raise InvalidRequest("the sum of the weights must be above 0 and finite")
    kept = {number: 0.0 for number in now.weights if number not in weights}
    return _weighted(now, kept | dict(weights))


def mirrored(now: Situation, mirrors: Mapping[int, float], at: float, grace: float) -> Change:
    """Set the percentages of some mirrors; 0 ends one, which stays warm if it is no arm."""
    for number, share in mirrors.items():
        _up(now, number)
        if number == now.live:
            raise InvalidRequest(f"revision {number} is the stable one; it cannot mirror itself")
        if not 0 <= share <= 100:
            raise InvalidRequest(f"a mirror takes 0 to 100 percent, got r{number}={share!r}")
    share_of = {**now.mirrors, **mirrors}
    kept = {number: share for number, share in share_of.items() if share > 0}
    awake = {number: _awake(now.members[number]) for number in kept if number in mirrors}
    after = replace(now, mirrors=kept, members={**now.members, **awake})
    after = _cooled(after, at, grace, "no longer a mirror")
    text = ", ".join(f"r{number}={share:g}" for number, share in sorted(mirrors.items()))
    return Change(after, (Note(None, "mirrors_changed", text),) if after != now else ())


def redeployed(now: Situation, number: int) -> Change:
    """Bring a retired revision up again, to replace the stable one."""
    change = created(now, number, Intent())
    return replace(change, notes=(*change.notes[:-1], Note(number, "redeployed")))


def stepped(now: Situation, at: float) -> Change:
    """Go to the next step of the rollout."""
    state = rollouts.stepped(_active(now), at)
    text = f"step {state.step + 1} of {len(state.plan.steps)}: {state.weight:g} %"
    return Change(_at_step(now, state), (_told(state, "rollout_step", text),))


def paused(now: Situation, by: PausedBy, reason: str, at: float) -> Change:
    """Stop the rollout where it is."""
    state = _active(now)
    if state.phase == "paused" and state.paused_by == by:
        return Change(now)
    state = rollouts.paused(state, by, reason, at)
    return Change(replace(now, rollout=state), (_told(state, "rollout_paused", reason or by),))


def resumed(now: Situation, at: float) -> Change:
    """Let a paused rollout go on."""
    state = _active(now)
    if state.phase != "paused":
        raise Conflict(f"the rollout of revision {state.revision} is not paused")
    state = rollouts.resumed(state, at)
    return Change(replace(now, rollout=state), (_told(state, "rollout_resumed"),))


def looked(now: Situation, found: list[Measurement], at: float, grace: float) -> Change:
    """Take a look at the metrics into account; the evidence goes into the log."""
    before = _active(now)
    state = rollouts.looked(before, found, at)
    data = {"measurements": [_evidence(one) for one in found], "step": state.step + 1}
    verdict = state.verdict or "inconclusive"
    text = "; ".join(one.message for one in found)
    note = replace(_told(state, f"analysis_{verdict}", text), data=data, notify=())
    if state.phase == "aborted":
        change = aborted(now, at, grace, state.reason)
        ended = replace(state, phase="aborted")
        return _and(note, replace(change, situation=replace(change.situation, rollout=ended)))
    notes = [note]
    if state.phase != before.phase:
        kind = "rollout_paused" if state.phase == "paused" else "rollout_resumed"
        notes.append(_told(state, kind, state.reason))
    return Change(replace(now, rollout=state), tuple(notes))


def expired(now: Situation, at: float) -> Change:
    """Retire the warm revisions whose time is over."""
    gone = [
        member
        for member in now.members.values()
        if member.state == "warm" and (member.expires_at is None or member.expires_at <= at)
    ]
    after = now
    for member in gone:
        after = _with(after, replace(member, state="retired", expires_at=None))
    return Change(after, tuple(Note(member.number, "retired") for member in gone))


def deleted(now: Situation) -> Change:
    """Ask for the graph to go; its revisions are retired and stay on record."""
    members = {
        number: replace(member, state="retired", reason="the graph was deleted", expires_at=None)
        for number, member in now.members.items()
    }
    state = now.rollout
    if state is not None and state.active:
        state = replace(state, phase="aborted", paused_by=None, reason="the graph was deleted")
    after = Situation(now.graph, "deleting", None, members, rollout=state)
    return Change(after, (Note(None, "delete_requested"),))


def gone(now: Situation) -> Change:
    """Nothing of the graph runs any more; no effect if it was deployed again."""
    if now.state != "deleting":
        return Change(now)
    return Change(replace(now, state="deleted"), (Note(None, "deleted"),))


def _with(now: Situation, member: Member) -> Situation:
    return replace(now, members={**now.members, member.number: member})


def _and(note: Note, change: Change) -> Change:
    return replace(change, notes=(note, *change.notes))


def _up(now: Situation, number: int) -> Member:
    member = now.members.get(number)
    if member is not None and member.state in UP:
        return member
    names = ", ".join(f"r{n} ({now.members[n].state})" for n in sorted(now.up)) or "none"
    state = f"is {member.state}" if member is not None else "does not run"
    kind = Conflict if member is not None else NotFound
    raise kind(f"revision {number} of graph {now.graph!r} {state}; up are: {names}")


def _awake(member: Member) -> Member:
    """A warm revision takes part again."""
    if member.state != "warm":
        return member
    return replace(member, state="ready", reason="", expires_at=None)


def _weighted(now: Situation, weights: Mapping[int, float]) -> Change:
    members = {**now.members, **{n: _awake(now.members[n]) for n in weights}}
    after = replace(now, weights=dict(weights), members=members)
    text = ", ".join(f"r{number}={weight:g}" for number, weight in sorted(weights.items()))
    return Change(after, (Note(None, "weights_changed", text),) if after != now else ())


def _only(
    now: Situation, at: float, grace: float, reason: str, rollout: RolloutState | None
) -> Situation:
    """The stable revision alone; what took part in the traffic beside it, mirrors but those of a
    rollout apart, goes warm."""
    assert now.live is not None
    alone = replace(now, weights={now.live: 100.0}, rollout=rollout)
    keep = rollout.revision if rollout is not None and rollout.active else None
    return _cooled(alone, at, grace, reason, keep)


def _cooled(
    now: Situation, at: float, grace: float, reason: str, keep: int | None = None
) -> Situation:
    """Whatever is up without a part in the traffic is warm from now on."""
    members = {}
    for number, member in now.members.items():
        has_part = number in now.weights or number in now.mirrors or number == keep
        if member.state in ("ready", "live") and not has_part:
            expires = at + max(grace, LINGER)
            member = replace(member, state="warm", reason=reason, expires_at=expires)
        members[number] = member
    return replace(now, members=members)


def _at_step(now: Situation, state: RolloutState) -> Situation:
    assert now.live is not None
    weights = {now.live: 100.0 - state.weight, state.revision: state.weight}
    mirrors = dict(now.mirrors)
    if state.mirror:
        mirrors[state.revision] = state.mirror
    return replace(now, weights=weights, mirrors=mirrors, rollout=state)


def _over(now: Situation, at: float, reason: str) -> Change:
    """End a rollout that is in progress, if there is one, and its mirror."""
    state = now.rollout
    if state is None or not state.active:
        return Change(now)
    ended = replace(state, phase="aborted", paused_by=None, reason=reason)
    mirrors = {n: s for n, s in now.mirrors.items() if n != state.revision or not state.mirror}
    after = replace(now, rollout=ended, mirrors=mirrors)
    return Change(after, (_told(ended, "rollout_aborted", reason),))


def _active(now: Situation) -> RolloutState:
    if now.rollout is None or not now.rollout.active:
        raise Conflict(f"no rollout of graph {now.graph!r} is in progress")
    return now.rollout


def _no_rollout(now: Situation, what: str) -> None:
    state = now.rollout
    if state is not None and state.active:
        raise Conflict(
            f"the rollout of revision {state.revision} moves the {what} of {now.graph!r}; "
            "abort or promote it first"
        )


def _told(state: RolloutState, kind: str, message: str = "") -> Note:
    """An event of a rollout, of which its webhooks hear."""
    data = {"step": state.step + 1, "weight": state.weight, "phase": state.phase}
    return Note(state.revision, kind, message, data, tuple(state.plan.webhooks or ()))


def _evidence(one: Measurement) -> dict[str, Any]:
    return {
        "metric": one.metric,
        "verdict": one.verdict,
        "value": one.value,
        "limit": one.limit,
        "samples": one.samples,
        "message": one.message,
    }


def _described(intent: Intent) -> str:
    match intent.kind:
        case "canary" | "mirror":
            return f"{intent.kind} {intent.percent:g} %"
        case "rollout":
            return f"rollout {', '.join(f'{s:g}' for s in (intent.rollout.steps if intent.rollout else ()))} %"
    return ""
