"""The routers of a plan that learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from anabranch.components.bandits import Bandit, State
from anabranch.components.bandits.nodes import bandit_of, strategy_of
from anabranch.components.contract import Bound
from anabranch.graph.plan.plan import Plan
from anabranch.specs.models import Router


@dataclass(frozen=True)
class LearningRouter:
    """A router that learns, and from how many features: 0 where it looks at none."""

    spec: Router
    bandit: Bandit
    size: int

    @property
    def key(self) -> str:
        """Name of what it learns: revisions with the same go on with each other's."""
        return self.bandit.key(self.size)

    def is_like(self, other: LearningRouter) -> bool:
        """Return whether both learn and decide alike."""
        return self.key == other.key and self.spec == other.spec

    @property
    def empty(self) -> State:
        """Nothing learned yet."""
        return State.empty(self.bandit.routes)

    def read(self, text: str) -> State:
        """Return the learned state from its JSON; ValueError if that is no state of the routes."""
        return State.read(text, self.bandit.routes, self.size)

    def refusal(self, reward: float, features: Sequence[float]) -> str | None:
        """Why nothing can be learned from a finite reward, and the features of its request."""
        wrong = self.bandit.wrong_reward(reward)
        if wrong is not None:
            return f"its rewards {wrong}"
        return self.bandit.wrong_features(features, self.size)


def learners(plan: Plan, bound: Mapping[str, Bound] | None = None) -> dict[str, LearningRouter]:
    """All routers of a plan that learn, by name: those that are ``bound``, or new ones."""
    return {
        name: LearningRouter(
            cast(Router, node.spec),
            bandit_of(node.spec) if bound is None else bound[name].instance,
            strategy.size(
                {key: plan.type_of(ref) for key, ref in node.inputs.items()}, node.spec.args
            ),
        )
        for name, node in plan.nodes.items()
        if (strategy := strategy_of(node.spec)) is not None
    }
