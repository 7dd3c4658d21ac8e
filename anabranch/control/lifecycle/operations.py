"""Operations on the revisions of a graph: pure functions from one situation to the next.

| state | the revision |
|---|---|
| pending, deploying | is on its way, and will do what its intent says once it is up |
| ready | is up: an arm beside the stable one, of whatever weight, or a mirror |
| live | is the stable one; exactly one, or none before the first |
| warm | was replaced or aborted, and stays up until its grace period is over |
| retired | was up once, and is down |
| failed | never came up, or was given up for a newer one |

An operation takes a situation and a moment; ``created`` needs none. Operations raise InvalidRequest
or NotFound for what makes no sense, Conflict for what the situation does not allow, and Forbidden
for what is not this actor's to do; nothing has changed then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from typing import Any, Literal, TypeAlias

from anabranch.control.lifecycle import rollouts
from anabranch.control.lifecycle.rollouts import Measurement, PausedBy, RolloutState
from anabranch.control.lifecycle.significance import Trial
from anabranch.errors import Conflict, Forbidden, InvalidRequest, NotFound
from anabranch.specs.models import Approver, Rollout

RevisionState: TypeAlias = Literal[
    "pending", "deploying", "ready", "live", "warm", "retired", "failed"
]
GraphState: TypeAlias = Literal["present", "unloaded", "deleting", "deleted"]
"""An unloaded graph keeps its revisions and traffic, but nothing of it runs."""
GONE: frozenset[GraphState] = frozenset({"deleting", "deleted"})
UP: frozenset[RevisionState] = frozenset({"ready", "live", "warm"})
COMING: frozenset[RevisionState] = frozenset({"pending", "deploying"})
SUMS = (1e-300, 1e300)
"""Least and largest sum of weights: between them floats keep their precision."""
TAKE_OVER = ("replace", "rollout")
"""Kinds of intents after which no other revision has traffic."""
SUPERSEDED = "superseded by"
"""Begin of the reason for which a revision on its way is given up for another one."""
ABORTED = "aborted"
"""Begin of the reason for which an aborted revision is warm or retired."""
DELETED = "the graph was deleted"
"""The reason for which a revision of a deleted graph is retired."""
LINGER = 2.0
"""Shortest grace period, in seconds: until no router sends anything any more."""


@dataclass(frozen=True)
class Intent:
    """The purpose of a deploy. ``percent`` is of a canary or a mirror."""

    kind: Literal["replace", "canary", "mirror", "rollout"] = "replace"
    percent: float = 100.0
    rollout: Rollout | None = None
    author: str = ""
    """The actor that asked for a rollout."""

    @classmethod
    def of(cls, block: Rollout | None) -> Intent:
        """Return the intent of a deploy that leaves it to the ``rollout`` block of the spec."""
        return cls() if block is None else cls("rollout", rollout=block)

    def to_json(self) -> dict[str, Any]:
        """JSON-able data that ``from_json`` reads back."""
        plan = self.rollout.model_dump(mode="json", exclude_defaults=True) if self.rollout else None
        data = {"kind": self.kind, "percent": self.percent, "rollout": plan}
        return data | ({"author": self.author} if self.author else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Intent:
        """Read what ``to_json`` wrote; pydantic's ValidationError where the rollout is none."""
        plan = data.get("rollout")
        rollout = None if plan is None else Rollout.model_validate(plan)
        kind, percent = data.get("kind", "replace"), data.get("percent", 100.0)
        return cls(kind, percent, rollout, data.get("author", ""))


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
    stable: int | None = None
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
        return max((number for number in self.weights if number != self.stable), default=None)


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
    """The result of an operation: the next situation, and its events."""

    situation: Situation
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Moment:
    """When an operation happens."""

    at: float
    """Unix time."""
    grace: float
    """Seconds that a revision without a part in the traffic stays up from then on."""


Operation: TypeAlias = Callable[[Situation, Moment], Change]


class Overtaken(Conflict):
    """A graph has changed since it was decided what to do with it."""


def created(now: Situation, number: int, intent: Intent, digest: str = "") -> Change:
    """A new revision was recorded. One that is to take over supersedes those still on their way.

    The event holds the digest of its bundle.
    """
    _check_intent(now, intent)
    note = Note(number, "revision_created", _described(intent), {"digest": digest})
    return _coming(now, number, intent, note)


def repeated(now: Situation, intent: Intent) -> tuple[int, ...]:
    """Return the revisions of which a deploy of the same content would be a mere repetition.

    These are the arms, the mirrors and the revisions on their way, newest first; only the last that
    is to take over, new or rolled back to, and those after it where there is one. Not those with a
    lesser part in the traffic than the deploy is to give: answers count more than copies, and
    copies more than nothing. None of a graph that does not run.
    """
    if now.state != "present":
        return ()
    takers = [one for one in now.coming if now.members[one].intent.kind in TAKE_OVER]
    numbers = (
        {one for one in now.coming if one >= takers[-1]}
        if takers
        else {*now.weights, *now.mirrors, *now.coming}
    )
    least = _intended_part(intent)
    return tuple(sorted((one for one in numbers if _part(now, one) >= least), reverse=True))


class _Part(IntEnum):
    """The part of a revision in the traffic."""

    NONE = 0
    COPIES = 1
    ANSWERS = 2


def _part(now: Situation, number: int) -> _Part:
    if number in now.coming:
        return _intended_part(now.members[number].intent)
    rollout = now.rollout
    if now.weights.get(number) or (rollout and rollout.active and rollout.revision == number):
        return _Part.ANSWERS
    return _Part.COPIES if number in now.mirrors else _Part.NONE


def _intended_part(intent: Intent) -> _Part:
    if intent.kind == "mirror":
        return _Part.COPIES
    return _Part.ANSWERS if intent.percent else _Part.NONE


def _coming(now: Situation, number: int, intent: Intent, note: Note) -> Change:
    gone = now.coming if intent.kind in TAKE_OVER else ()
    cleared = _given_up(now, gone, f"{SUPERSEDED} revision {number}")
    after = _with(cleared.situation, Member(number, intent=intent))
    return Change(replace(after, state="present"), (*cleared.notes, note))


def _given_up(now: Situation, numbers: Iterable[int], reason: str) -> Change:
    """Revisions on their way do not get there."""
    after, notes = now, []
    for number in numbers:
        after = _with(after, replace(now.members[number], state="failed", reason=reason))
        notes.append(Note(number, "deploy_failed", reason))
    return Change(after, tuple(notes))


def _check_intent(now: Situation, intent: Intent) -> None:
    kinds = ("replace", *_INTENTS)
    if intent.kind not in kinds:
        raise InvalidRequest(f"no intent {str(intent.kind)[:64]!r}; there are: {', '.join(kinds)}")
    if not _is_share(intent.percent) or (intent.kind == "mirror" and not intent.percent):
        least = "above 0" if intent.kind == "mirror" else "0"
        raise InvalidRequest(
            f"a {intent.kind} takes {least} to 100 percent, got {str(intent.percent)[:64]}"
        )
    if (intent.kind == "rollout") != (intent.rollout is not None):
        raise InvalidRequest("a plan is for a rollout, and a rollout needs one")
    if intent.kind == "canary":
        _no_rollout(now, "weights")
        _nothing_takes_over(now)


def _nothing_takes_over(now: Situation) -> None:
    """A canary that came up after a rollout began would take from its weights, and one that came
    up before a replacement would lose its own. A graph's first revision is waited for in any case.
    """
    for number in now.coming:
        kind = now.members[number].intent.kind
        if kind == "rollout" or (kind == "replace" and now.stable is not None):
            what = "be rolled out" if kind == "rollout" else "become the stable one"
            raise Conflict(
                f"revision {number} of graph {now.graph!r} is on its way to {what}; deploy "
                "the canary when that is over, or a replacement instead"
            )


def started(now: Situation, moment: Moment, number: int) -> Change:
    """A revision is being brought up; no effect unless it is pending."""
    member = now.members.get(number)
    if member is None or member.state != "pending":
        return Change(now)
    return Change(_with(now, replace(member, state="deploying")), (Note(number, "deploy_started"),))


def waits(now: Situation, moment: Moment, number: int, reason: str) -> Change:
    """A revision on its way waits for machines that have room, or no longer if ``reason`` is empty.

    No effect on any other, nor where that is known.
    """
    member = now.members.get(number)
    if member is None or member.state not in COMING or member.reason == reason:
        return Change(now)
    kind = "deploy_waits" if reason else "deploy_resumed"
    return Change(_with(now, replace(member, reason=reason)), (Note(number, kind, reason),))


def failed(now: Situation, moment: Moment, number: int, reason: str) -> Change:
    """A revision on its way is given up; no effect on any other."""
    return _given_up(now, (number,) if number in now.coming else (), reason)


def arrived(now: Situation, moment: Moment, number: int) -> Change:
    """A revision on its way is up: do what it was deployed for. The first one just goes live."""
    member = now.members.get(number)
    if member is None or member.state not in COMING:
        return Change(now)
    up = _with(now, replace(member, state="ready", reason=""))
    if now.stable is None or member.intent.kind == "replace":
        return promoted(up, moment, number)
    note = Note(number, "ready", _described(member.intent))
    return _and(note, _INTENTS[member.intent.kind](up, moment, member))


def _canary(now: Situation, moment: Moment, member: Member) -> Change:
    share = member.intent.percent
    total = sum(now.weights.values())
    rest = {number: weight / total * (100 - share) for number, weight in now.weights.items()}
    return _weighted(now, rest | {member.number: share})


def _mirror(now: Situation, moment: Moment, member: Member) -> Change:
    return mirrored(now, moment, {member.number: member.intent.percent})


def _rollout(now: Situation, moment: Moment, member: Member) -> Change:
    """Only the stable revision and the new one share the traffic of a rollout."""
    assert member.intent.rollout is not None and now.stable is not None
    plan, author = member.intent.rollout, member.intent.author
    state = rollouts.begin(member.number, plan, moment.at, author)
    cleared = _over(now, f"{SUPERSEDED} the rollout of revision {member.number}")
    started = _at_step(cleared.situation, state)
    alone = _cooled(started, moment, f"revision {member.number} is rolled out")
    note = _told(state, "rollout_started", f"step 1 of {len(state.plan.steps)}: {state.weight:g} %")
    return Change(alone, (*cleared.notes, note))


_INTENTS: Mapping[str, Callable[[Situation, Moment, Member], Change]] = {
    "canary": _canary,
    "mirror": _mirror,
    "rollout": _rollout,
}


def promoted(now: Situation, moment: Moment, number: int) -> Change:
    """Make a revision that is up the stable one, with all traffic.

    The other arms stay warm for their grace period; mirrors stay mirrors.
    """
    member = _up(now, number)
    over = _concluded(now, number)
    now = over.situation
    if now.stable == number and now.weights == {number: 100.0}:
        return over
    live_at = member.live_at if member.state == "live" else moment.at
    fresh = replace(member, state="live", reason="", expires_at=None, live_at=live_at)
    after = replace(
        _with(now, fresh), stable=number, weights={number: 100.0},
        mirrors={n: share for n, share in now.mirrors.items() if n != number},
    )  # fmt: skip
    after = _cooled(after, moment, f"replaced by revision {number}")
    return Change(after, (*over.notes, Note(number, "promoted")))


def preferred(now: Situation, moment: Moment, number: int) -> Change:
    """Promote a revision because somebody says so: older ones on their way come too late.

    Conflict where that would leave out an approval.
    """
    _needs_no_approval(now, number)
    older = [coming for coming in now.coming if coming < number]
    cleared = _given_up(now, older, f"{SUPERSEDED} the promotion of revision {number}")
    return _then(cleared, promoted(cleared.situation, moment, number))


def rolled_back(now: Situation, moment: Moment, number: int) -> Change:
    """Go back to a revision: at once if it is up, else by bringing it up again.

    Whatever is on its way is given up, or it would overtake the rollback. So is a rollout in
    progress where the revision has to come up first.
    """
    _needs_no_approval(now, number)
    if number in now.up:
        reason = f"{SUPERSEDED} the rollback to revision {number}"
        cleared = _given_up(now, now.coming, reason)
        return _then(cleared, promoted(cleared.situation, moment, number))
    asked = redeployed(now, moment, number)
    if now.rollout is None or not now.rollout.active:
        return asked
    return _then(asked, aborted(asked.situation, moment, f"rollback to revision {number}"))


def _concluded(now: Situation, number: int) -> Change:
    """The rollout, if one is in progress, has reached its goal if that is revision ``number``."""
    state = now.rollout
    if state is None or not state.active or state.revision != number:
        return _over(now, f"revision {number} was promoted")
    state = replace(state, phase="promoted", paused_by=None, paused_at=None, reason="")
    note = _told(state, "rollout_promoted", f"revision {number} is the stable one")
    return Change(replace(now, rollout=state), (note,))


def aborted(now: Situation, moment: Moment, reason: str = "") -> Change:
    """Give all traffic back to the stable revision; the other arms stay warm for inspection."""
    stable = now.stable
    if stable is None:
        raise Conflict(f"graph {now.graph!r} has no live revision to go back to")
    over = _over(now, reason or "aborted")
    now = over.situation
    arms = [number for number in now.weights if number != stable]
    if not arms and not over.notes:
        raise Conflict(f"nothing to abort: revision {stable} of {now.graph!r} has all traffic")
    alone = replace(now, weights={stable: 100.0})
    after = _cooled(alone, moment, f"{ABORTED}: {reason}" if reason else ABORTED)
    return Change(after, (*over.notes, *(Note(arm, "aborted", reason) for arm in arms)))


def split(now: Situation, moment: Moment, weights: Mapping[int, float]) -> Change:
    """Set the weights of arms; arms that are left out get none, and stay arms."""
    _no_rollout(now, "weights")
    for number in weights:
        _up(now, number)
    least, most = SUMS
    bad = {n: weight for n, weight in weights.items() if not 0 <= weight <= most}
    if bad:
        text = ", ".join(f"r{number}={weight}" for number, weight in bad.items())
        raise InvalidRequest(f"a weight is a number from 0 to {most:g}, got {text[:256]}")
    if not least <= sum(weights.values()) <= most:
        raise InvalidRequest(f"the sum of the weights must be from {least:g} to {most:g}")
    kept = {number: 0.0 for number in now.weights if number not in weights}
    return _weighted(now, kept | {number: float(weight) for number, weight in weights.items()})


def mirrored(now: Situation, moment: Moment, mirrors: Mapping[int, float]) -> Change:
    """Set the percentages of some mirrors; 0 ends one, which stays warm if it is no arm."""
    for number, share in mirrors.items():
        _up(now, number)
        if number == now.stable:
            raise InvalidRequest(f"revision {number} is the stable one; it cannot mirror itself")
        if not _is_share(share):
            raise InvalidRequest(f"a mirror takes 0 to 100 percent, got r{number}={share}")
    if now.rollout is not None and now.rollout.revision in mirrors:
        _no_rollout(now, "copies")
    share_of = {**now.mirrors, **mirrors}
    kept = {number: float(share) for number, share in share_of.items() if share > 0}
    awake = {number: _awake(now.members[number]) for number in kept if number in mirrors}
    after = replace(now, mirrors=kept, members={**now.members, **awake})
    after = _cooled(after, moment, "no longer a mirror")
    text = ", ".join(f"r{number}={share:g}" for number, share in sorted(mirrors.items()))
    return Change(after, (Note(None, "mirrors_changed", text),) if after != now else ())


def redeployed(now: Situation, moment: Moment, number: int) -> Change:
    """Bring a revision that is down up again, to replace the stable one.

    A graph that was deleted comes back with it.
    """
    member = now.members.get(number)
    if member is not None and member.state in UP | COMING:
        raise Conflict(f"revision {number} of graph {now.graph!r} is {member.state}, not down")
    return _coming(now, number, Intent(), Note(number, "redeployed"))


def stepped(now: Situation, moment: Moment) -> Change:
    """Go to the next step of the rollout; Conflict if it is paused or there is none."""
    before = _active(now)
    if before.phase == "paused" or before.is_last:
        why = "is paused" if before.phase == "paused" else "is in its last step"
        raise Conflict(f"the rollout of revision {before.revision} {why}")
    state = rollouts.stepped(before, moment.at)
    text = f"step {state.step + 1} of {len(state.plan.steps)}: {state.weight:g} %"
    return Change(_at_step(now, state), (_told(state, "rollout_step", text),))


def paused(now: Situation, moment: Moment, by: PausedBy, reason: str) -> Change:
    """Stop the rollout where it is. Of one that is paused, only the user's pause and a refusal, as
    of an abortion, still count, each once.
    """
    state = _active(now)
    if state.phase == "paused" and (by not in ("user", "refusal") or by == state.paused_by):
        return Change(now)
    state = rollouts.paused(state, by, reason, moment.at)
    return Change(replace(now, rollout=state), (_told(state, "rollout_paused", reason or by),))


def resumed(now: Situation, moment: Moment) -> Change:
    """Let a paused rollout go on."""
    state = _active(now)
    if state.phase != "paused":
        raise Conflict(f"the rollout of revision {state.revision} is not paused")
    if state.paused_by == "approval":
        raise Conflict(f"{state.reason}; `anabranch rollout {now.graph} approve` gives it")
    state = rollouts.resumed(state, moment.at)
    return Change(replace(now, rollout=state), (_told(state, "rollout_resumed"),))


def asked(now: Situation, moment: Moment) -> Change:
    """Pause a rollout until somebody lets it go on; no effect on one that is paused."""
    state = _active(now)
    approval = state.plan.approve
    assert approval is not None
    step = f"step {state.step + 1} of {len(state.plan.steps)}"
    other = f", other than {state.author}" if approval.other_than_author and state.author else ""
    reason = f"{step} waits for an approval by an actor with the role {approval.role}{other}"
    return paused(now, moment, "approval", reason)


def approved(now: Situation, moment: Moment, actor: str, may: Callable[[Approver], bool]) -> Change:
    """Let a rollout go on that waits for an approval. ``may`` says if the actor has a role.

    Forbidden for who lacks the role, and for its author where the plan asks for somebody else.
    """
    state = _active(now)
    approval = state.plan.approve
    if approval is None or state.paused_by != "approval":
        is_paused = f": it is paused by {state.paused_by}" if state.paused_by else ""
        raise Conflict(f"the rollout of revision {state.revision} waits for no approval{is_paused}")
    if not may(approval.role):
        raise Forbidden(
            f"{actor} may not approve the rollout of revision {state.revision} of graph "
            f"{now.graph!r}: that takes the role {approval.role}"
        )
    if approval.other_than_author and actor == state.author:
        raise Forbidden(
            f"{actor} has deployed revision {state.revision} of graph {now.graph!r}: its rollout "
            f"takes the approval of another {approval.role}"
        )
    state = rollouts.approved(state, moment.at)
    return Change(replace(now, rollout=state), (_told(state, "rollout_approved", f"by {actor}"),))


def looked(
    now: Situation,
    moment: Moment,
    found: list[Measurement],
    evidence: dict[str, Trial] | None = None,
) -> Change:
    """Take a look at the metrics into account; the measurements go into the log."""
    before = _active(now)
    state = rollouts.looked(before, found, moment.at, evidence)
    data = {"measurements": [asdict(one) for one in found], "step": state.step + 1}
    verdict = state.verdict or "inconclusive"
    text = "; ".join(one.message for one in found)
    note = replace(_told(state, f"analysis_{verdict}", text), data=data, notify=())
    if state.phase == "aborted":
        counted = replace(state, phase=before.phase)  # the abortion ends it, once
        return _and(note, aborted(replace(now, rollout=counted), moment, state.reason))
    notes = () if _is_no_news(before, state) else (note,)
    return Change(replace(now, rollout=state), notes)


def _is_no_news(before: RolloutState, state: RolloutState) -> bool:
    """Whether a rollout just goes on waiting, which would fill the log in weeks.

    Failures and errors are counted, and end it some time, so they are always news.
    """
    waits = before.phase == state.phase == "paused" or state.verdict == "inconclusive"
    return waits and before.verdict == state.verdict and state.verdict in ("pass", "inconclusive")


def expired(now: Situation, moment: Moment, held: Collection[int] = ()) -> Change:
    """Retire the warm revisions whose time is over, but for those that are ``held``."""
    gone = [
        member
        for number, member in now.members.items()
        if member.state == "warm" and number not in held and (member.expires_at or 0.0) <= moment.at
    ]
    after = now
    for member in gone:
        after = _with(after, replace(member, state="retired", expires_at=None))
    return Change(after, tuple(Note(member.number, "retired") for member in gone))


def deleted(now: Situation, moment: Moment) -> Change:
    """Ask for the graph to go; its revisions are retired and stay on record.

    No effect if it is going or gone.
    """
    if now.state in GONE:
        return Change(now)
    members = {
        number: replace(member, state="retired", reason=DELETED, expires_at=None)
        for number, member in now.members.items()
    }
    over = _over(now, DELETED)
    after = Situation(now.graph, "deleting", None, members, rollout=over.situation.rollout)
    return Change(after, (*over.notes, Note(None, "delete_requested")))


def gone(now: Situation, moment: Moment) -> Change:
    """Nothing of the graph runs any more; no effect if it was deployed again."""
    if now.state != "deleting":
        return Change(now)
    return Change(replace(now, state="deleted"), (Note(None, "deleted"),))


def unloaded(now: Situation, moment: Moment) -> Change:
    """Take all of the graph down, to come back as it is; no effect if that has been done.

    Conflict while a revision is on its way or a rollout in progress.
    """
    if now.state == "unloaded":
        return Change(now)
    if now.stable is None or now.coming:
        what = f"revision {now.coming[-1]} is on its way" if now.coming else "it has no revision"
        raise Conflict(f"graph {now.graph!r} cannot be unloaded: {what}")
    _no_rollout(now, "traffic")
    return Change(replace(now, state="unloaded"), (Note(None, "unloaded"),))


def loaded(now: Situation, moment: Moment) -> Change:
    """Bring an unloaded graph back; no effect on one that is there."""
    if now.state == "present":
        return Change(now)
    return Change(replace(now, state="present"), (Note(None, "loaded"),))


def _with(now: Situation, member: Member) -> Situation:
    return replace(now, members={**now.members, member.number: member})


def _is_share(percent: float) -> bool:
    return 0 <= percent <= 100


def _and(note: Note, change: Change) -> Change:
    return replace(change, notes=(note, *change.notes))


def _then(first: Change, second: Change) -> Change:
    return replace(second, notes=(*first.notes, *second.notes))


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


def _cooled(now: Situation, moment: Moment, reason: str) -> Situation:
    """Whatever is up without a part in the traffic is warm from now on."""
    members = {}
    for number, member in now.members.items():
        has_part = number in now.weights or number in now.mirrors
        if member.state in ("ready", "live") and not has_part:
            expires = moment.at + max(moment.grace, LINGER)
            member = replace(member, state="warm", reason=reason, expires_at=expires)
        members[number] = member
    return replace(now, members=members)


def _at_step(now: Situation, state: RolloutState) -> Situation:
    assert now.stable is not None
    weights = {now.stable: 100.0 - state.weight, state.revision: state.weight}
    mirrors = dict(now.mirrors)
    if state.mirror:
        mirrors[state.revision] = state.mirror
    return replace(now, weights=weights, mirrors=mirrors, rollout=state)


def _over(now: Situation, reason: str) -> Change:
    """End a rollout that is in progress, if there is one, and its mirror."""
    state = now.rollout
    if state is None or not state.active:
        return Change(now)
    ended = replace(state, phase="aborted", paused_by=None, paused_at=None, reason=reason)
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


def _needs_no_approval(now: Situation, number: int) -> None:
    state = now.rollout
    if state is None or not state.active or state.revision != number:
        return
    if state.plan.approve is not None and not (state.is_last and state.approved):
        raise Conflict(
            f"the rollout of revision {number} of graph {now.graph!r} goes on by approvals: "
            f"`anabranch rollout {now.graph} approve` where it waits for one, or abort it"
        )


def _told(state: RolloutState, kind: str, message: str = "") -> Note:
    """An event of a rollout, of which its webhooks hear."""
    data = {"step": state.step + 1, "weight": state.weight, "phase": state.phase}
    return Note(state.revision, kind, message, data, tuple(state.plan.webhooks or ()))


def _described(intent: Intent) -> str:
    if intent.kind == "replace":
        return ""
    shares = intent.rollout.steps if intent.rollout else [intent.percent]
    return f"{intent.kind} {', '.join(f'{share:g}' for share in shares)} %"
