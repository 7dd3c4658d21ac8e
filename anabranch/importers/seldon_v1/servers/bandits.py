"""Routers of Seldon's images that learn from rewards, as built-in strategies.

``components/routers/epsilon-greedy/EpsilonGreedy.py`` and
``components/routers/thompson-sampling/ThompsonSampling.py``.
"""

from __future__ import annotations

from typing import Any

from anabranch.importers.seldon_v1.pods.containers import Container
from anabranch.importers.seldon_v1.units.flattening import Call
from anabranch.importers.seldon_v1.units.tree import PredictiveUnit

_STRATEGIES = {"mab_epsilon_greedy": "epsilon_greedy", "mab_thompson_sampling": "thompson"}
_OWNER = "seldonio/"
_KNOWN = ("n_branches", "verbose", "seed", "history", "branch_names")
_OF_EPSILON = ("epsilon", "best_branch")
_REASONS = {
    "verbose": "`anabranch bandit` shows what the router has learned",
    "history": "`anabranch experiment` and the metrics have the history",
    "branch_names": "routes have the names of their nodes",
    "best_branch": "a route without rewards has a mean of 0; give the route a `prior`",
}


def strategy_of(image: str) -> str | None:
    """Return the strategy of an image of Seldon's; None for any other image."""
    if not image.startswith(_OWNER):
        return None
    return _STRATEGIES.get(image.removeprefix(_OWNER).partition(":")[0].partition("@")[0])


def bandit(unit: PredictiveUnit, strategy: str, container: Container) -> Call:
    """Return the router node of a unit whose image learns from rewards."""
    parameters = unit.parameters
    known = _KNOWN + (_OF_EPSILON if strategy == "epsilon_greedy" else ())
    parameters.refuse_others(known, f"the image of {strategy}")
    args: dict[str, Any] = {}
    for name, value in parameters.values.items():
        if name in _REASONS:
            parameters.left_out(name, _REASONS[name])
        elif name == "n_branches":
            _check_branches(unit, value)
        elif name == "seed":
            _whole(unit, name, value, args)
        else:
            _share(unit, name, value, args)
    if "n_branches" not in parameters.values:
        unit.fields.mistake("needs `n_branches`, the number of its children", "parameters")
    fields: dict[str, Any] = {"type": "router", "strategy": strategy}
    container.fields.reworded(f"`strategy: {strategy}`", "image")
    return Call(fields | ({"args": args} if args else {}))


def _check_branches(unit: PredictiveUnit, value: Any) -> None:
    if not _is_number(value) or int(value) != len(unit.children):
        said = f"n_branches is {value}, but the router has {len(unit.children)} children"
        unit.parameters.mistake("n_branches", said)
    else:
        unit.parameters.same("n_branches", "the number of `routes`")


def _whole(unit: PredictiveUnit, name: str, value: Any, args: dict[str, Any]) -> None:
    if isinstance(value, int):
        args[name] = value
        unit.parameters.same(name, f"`args.{name}`")
    else:
        unit.parameters.mistake(name, f"{name} must be an INT")


def _share(unit: PredictiveUnit, name: str, value: Any, args: dict[str, Any]) -> None:
    """Take ``epsilon``: Seldon explores among the other routes, and we among all of them."""
    branches = max(len(unit.children), 2)
    if not _is_number(value) or not 0 <= float(value) <= 1:
        unit.parameters.mistake(name, f"{name} must be a share from 0 to 1")
        return
    widened = float(value) * branches / (branches - 1)
    args[name] = min(1.0, round(widened, 6))
    unit.parameters.reworded(
        name,
        f"`args.epsilon: {args[name]}`: a share among all {branches} routes here, among the others "
        "there",
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)
