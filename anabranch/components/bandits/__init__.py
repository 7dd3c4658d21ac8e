"""Bandits: the strategies of learning routers, which learn from rewards which route is best.

A strategy is a class that is constructed from its node, like every built-in strategy of router
nodes. Its knowledge is a ``State``, an immutable value: ``after`` returns the state after one more
reward, and ``learn`` sets the state by which ``route`` decides. So there is one state, wherever
rewards are counted and however many replicas decide. Without a state, a strategy decides by its
priors.
"""

from anabranch.components.bandits.bandit import Bandit, Standing
from anabranch.components.bandits.epsilon_greedy import EpsilonGreedy
from anabranch.components.bandits.linucb import LinUCB
from anabranch.components.bandits.state import RouteSums, State
from anabranch.components.bandits.thompson import Thompson
from anabranch.components.bandits.ucb1 import UCB1

__all__ = [
    "UCB1",
    "Bandit",
    "EpsilonGreedy",
    "LinUCB",
    "RouteSums",
    "Standing",
    "State",
    "Thompson",
]
