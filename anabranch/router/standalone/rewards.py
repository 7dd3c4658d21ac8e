"""Rewards that are counted, and learned from, in the process that made the decisions.

What was learned is lost with the process: an engine keeps it in its store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from anabranch.components.bandits import State
from anabranch.errors import InvalidRequest, RequestError
from anabranch.graph.plan.learners import LearningRouter
from anabranch.router.traffic.decisions import Decision
from anabranch.router.traffic.feedback import RewardEntry, RewardOutcome

MAX_TAKEN = 100_000
"""Rewards whose ids are remembered, so that each id counts once."""


class StandaloneRewards:
    """A ``FeedbackSource`` for one process; ``teach`` it the revision that learns."""

    def __init__(self) -> None:
        self._taken: OrderedDict[str, RewardEntry] = OrderedDict()
        self._revision = 0
        self._learners: Mapping[str, LearningRouter] = {}
        self._states: dict[str, State] = {}

    def teach(self, revision: int, learners: Mapping[str, LearningRouter]) -> None:
        """Have the routers of a revision learn from now on.

        A router that learns and decides like the one before goes on with its state.
        """
        known, states = self._learners, self._states
        self._revision, self._learners = revision, learners
        self._states = {
            name: states[name] if name in known and one.is_like(known[name]) else one.empty
            for name, one in learners.items()
        }
        for name, state in self._states.items():
            learners[name].bandit.learn(state)

    async def recall(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Know no decisions but those that the router itself remembers."""
        return [None for _ in ids]

    async def reward(
        self, entries: Sequence[RewardEntry]
    ) -> Sequence[RewardOutcome | RequestError]:
        """Count rewards: the first for each id."""
        return [self._counted(entry) for entry in entries]

    def _counted(self, entry: RewardEntry) -> RewardOutcome | RequestError:
        refused = self._refusal(entry)
        if refused is not None:
            return refused
        first = self._taken.setdefault(entry.decision.id, entry)
        if first is entry:
            if len(self._taken) > MAX_TAKEN:
                self._taken.popitem(last=False)
            self._learn(entry.decision, entry.reward)
        return RewardOutcome(first.token == entry.token, first.reward)

    def _refusal(self, entry: RewardEntry) -> InvalidRequest | None:
        """Return why a router could not learn from a reward; None where all can."""
        features = entry.decision.features
        for name in self._learning(entry.decision):
            wrong = self._learners[name].refusal(entry.reward, features.get(name, ()))
            if wrong is not None:
                return InvalidRequest(f"router {name!r} cannot learn from this: {wrong}")
        return None

    def _learn(self, decision: Decision, reward: float) -> None:
        for name, route in self._learning(decision).items():
            bandit, features = self._learners[name].bandit, decision.features.get(name, ())
            self._states[name] = state = bandit.after(self._states[name], route, reward, features)
            bandit.learn(state)

    def _learning(self, decision: Decision) -> Mapping[str, str]:
        """Return the routes of a decision whose routers learn: those of this revision."""
        if decision.revision != self._revision:
            return {}
        return {name: route for name, route in decision.picks.items() if name in self._learners}
