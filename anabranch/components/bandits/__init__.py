"""Bandits: routers that learn from rewards which of their routes to take.

A strategy is a class that is constructed from its node, as every built-in router is. What it has
learned is a ``State``, an immutable value: ``after`` gives the state after one more reward, and
``learn`` takes one over, from which ``route`` decides then. So wherever rewards are counted, and
however many replicas decide, there is one state. Without any, a strategy goes by its priors.
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
