"""Rewards for what a graph decided: ``POST /v2/models/<graph>/feedback``.

A body names the request by its ``id``, or by the ``routing`` that its reply carried, and says how
good the answer was: ``reward``, ``truth``, or both. It is read strictly, and a routing counts only
if a router of the graph has signed it. The controller counts each
id once, whichever router was told; a router that cannot reach it tries for a while.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Meta

from anabranch.components.contract import NodeFeedback
from anabranch.errors import InvalidRequest, NotFound, RequestError, Unavailable
from anabranch.graph.calls.stepping import in_task
from anabranch.router.limits import ConcurrencyLimit
from anabranch.router.measure.tally import Judged
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.decisions import MAX_ID, Decision, from_routing, unpacked
from anabranch.router.traffic.grouped_calls import Grouped
from anabranch.router.traffic.labels import Label, agreeing

logger = logging.getLogger("anabranch.router")

MAX_BODY = 64 * 2**10
"""Largest body, in bytes."""
MAX_REWARD = 1e9
"""Largest reward, and the same below zero."""
MAX_ONGOING = 1024
"""Rewards that one router may have in progress."""
PATIENCE_S = 6.0
"""How long a reward may wait for a controller that is away."""
ON_ITS_WAY_S = 1.5
"""How long an id may be unknown: another router may be about to tell of it."""
_PAUSE_S = 0.2
"""Time between two tries."""

TOO_EARLY = b""
"""In place of a decision: who is asked has not heard from all routers yet."""

T = TypeVar("T")
_Reward = Annotated[float, Meta(ge=-MAX_REWARD, le=MAX_REWARD)]


class GivenReward(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A reward, or the truth, for the request of an id or of a reply's routing."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)] | None = None
    routing: str | None = None
    reward: _Reward | None = None
    truth: Label | list[Label] | None = None


_read = msgspec.json.Decoder(GivenReward).decode


class JudgedRequest(NamedTuple):
    """The request that a reward is for, as feedback repeats it: inputs, and names of columns."""

    inputs: Mapping[str, Any] = {}
    names: Mapping[str, Sequence[str]] = {}


class RewardEntry(NamedTuple):
    """A reward on its way; ``token`` is the same when it is sent again, and no other's."""

    decision: Decision
    reward: float
    token: str


class RewardOutcome(NamedTuple):
    """Whether a reward counts, and the one that does: the first for its id."""

    counted: bool
    reward: float


class FeedbackSource(Protocol):
    """Source of other routers' decisions, and sink of rewards. Both raise when it is away."""

    async def recall(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """The decisions about requests of these ids, packed.

        None where it is not known, and TOO_EARLY where nobody can say so yet.
        """

    async def reward(
        self, entries: Sequence[RewardEntry]
    ) -> Sequence[RewardOutcome | RequestError]:
        """Count rewards, for good once this returns."""


class Feedback:
    """Takes the rewards that are told to one router."""

    def __init__(self, arms: Arms, source: FeedbackSource) -> None:
        self._arms = arms
        self.gate = ConcurrencyLimit(MAX_ONGOING, "may wait for their rewards to be stored")
        self._recall = Grouped(source.recall)
        self._reward = Grouped(source.reward)

    async def take(self, body: Buffer) -> dict[str, Any]:
        """Count the reward in a body, and say what became of it.

        Raises as ``give``.
        """
        return await self.give(_given(body))

    async def give(
        self, given: GivenReward, request: JudgedRequest | None = None
    ) -> dict[str, Any]:
        """Count a reward, hand it to components that take some, and say what became of it.

        ``request`` is the request that the reward is for, where the feedback repeats it. Raises
        InvalidRequest, NotFound for an id that nobody knows (any more), and Unavailable.
        """
        await in_task()
        try:
            async with asyncio.timeout(PATIENCE_S) as limit:
                decision, found = await self._taken(given)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unavailable("the reward cannot be stored now; try again later") from None
        if found.counted:
            told = _told(decision, found.reward, given.truth, request or JudgedRequest())
            self._arms.teach(decision.revision, told)
        return {"id": decision.id, "counted": found.counted, "reward": found.reward}

    async def _taken(self, given: GivenReward) -> tuple[Decision, RewardOutcome]:
        decision = await self._decision(given)
        judged = _judged(decision, given.truth)
        entry = RewardEntry(decision, _worth(given.reward, judged), os.urandom(16).hex())
        outcome = await _persistently(lambda: self._reward(entry))
        if isinstance(outcome, RequestError):
            raise outcome
        self._arms.rewarded(decision, outcome.reward if outcome.counted else None, judged)
        return decision, outcome

    async def _decision(self, given: GivenReward) -> Decision:
        if given.id is not None:
            return await self.known(given.id)
        told = from_routing(given.routing or "", self._arms.routing.signatures)
        if given.truth is None:
            return told
        # Only who remembers the request knows what was answered.
        known = await self.find(told.id)
        is_same = known is not None and (known.revision, known.path) == (told.revision, told.path)
        return known if known is not None and is_same else told

    async def known(self, id: str) -> Decision:
        """The decision about the request of an id, also one that is just being told.

        NotFound where nobody knows it (any more).
        """
        left = ON_ITS_WAY_S
        while (found := await self.find(id)) is None:
            if left <= 0:
                raise NotFound(
                    f"no request with id {id[:64]!r} is remembered; the `routing` that its reply "
                    "carried can be given instead, however late"
                )
            await asyncio.sleep(_PAUSE_S)
            left -= _PAUSE_S
        return found

    async def find(self, id: str) -> Decision | None:
        """The decision that this router or another made, as soon as that can be said; or None."""
        while (own := self._arms.made.find(id)) is None:
            found = await _persistently(lambda: self._recall(id))
            if found != TOO_EARLY:
                return None if found is None else unpacked(found)
            await asyncio.sleep(_PAUSE_S)
        return own


async def _persistently(call: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await call()
        except Exception as error:
            logger.info("the controller did not take feedback: %r", error)
            await asyncio.sleep(_PAUSE_S)


def _told(
    decision: Decision, reward: float, truth: Label | list[Label] | None, request: JudgedRequest
) -> NodeFeedback:
    """Return a reward as components get it."""
    labels = truth if truth is None or isinstance(truth, list) else [truth]
    path, inputs, names = dict(decision.path), dict(request.inputs), dict(request.names)
    return NodeFeedback(decision.id, reward, labels, path, inputs, names)


def _given(body: Buffer) -> GivenReward:
    given = parsed(_read, body, "the body", "not feedback")
    if (given.id is None) == (given.routing is None):
        raise InvalidRequest("give either `id` or `routing`")
    if given.reward is None and given.truth is None:
        raise InvalidRequest("give `reward`, `truth` or both")
    return given


def _judged(decision: Decision, truth: Label | list[Label] | None) -> Judged | None:
    """How many rows the truth agrees with; None if there is no truth, or no answer to judge."""
    if truth is None or decision.answer is None:
        return None
    labels = truth if isinstance(truth, list) else [truth]
    if len(labels) != len(decision.answer):
        raise InvalidRequest(
            f"truth has {len(labels)} labels, the answer had {len(decision.answer)} rows"
        )
    return Judged(agreeing(decision.answer, labels), len(labels))


def _worth(reward: float | None, judged: Judged | None) -> float:
    if reward is not None:
        return reward
    if judged is None:
        raise InvalidRequest(
            "give a `reward`: no answer of this request is remembered that `truth` could judge"
        )
    return judged.right / judged.rows
