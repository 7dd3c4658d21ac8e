"""How routers learn, against theory, and what a decision costs: ``python -m benchmarks.bandits``.

In this process, without an engine, all of it seeded. Regret is what the best route would have
earned more, summed over the requests so far; for each strategy the mean over several worlds with
the same three arms. Beside it stand what no strategy can beat for long (Lai and Robbins,
"Asymptotically Efficient Adaptive Allocation Rules", 1985), what UCB1 is proven to keep (Auer,
Cesa-Bianchi and Fischer, 2002), and chance.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.table import Table

from anabranch.components.bandits import Bandit, State
from anabranch.components.bandits.nodes import bandit_of
from anabranch.specs.models import Router
from benchmarks.options import parse
from benchmarks.outcome import outcome

ARMS = {"best": 0.9, "middle": 0.6, "worst": 0.3}
SWAPPED = {"best": 0.3, "middle": 0.6, "worst": 0.9}
BEST = max(ARMS.values())
GAPS = [BEST - mean for mean in ARMS.values() if mean < BEST]
ROUNDS = 10_000
FEATURES = 16
HALF_LIFE = 200.0
NOISE = 0.1
GOAL_US = 5.0
DECISIONS = 20_000
REPEATS = 7
WIDTH = 120
Curve = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Strategy:
    """A strategy as a spec names it."""

    title: str
    name: str
    args: Mapping[str, Any] = field(default_factory=dict)

    def bandit(self, seed: int, **more: Any) -> Bandit:
        """One that has learned nothing."""
        inputs = {"x": "x"} if self.name == "linucb" else {}
        args = {**self.args, **more, "seed": seed}
        routes = list(ARMS)
        return bandit_of(
            Router(type="router", strategy=self.name, routes=routes, args=args, inputs=inputs)
        )


STRATEGIES = (
    Strategy("epsilon_greedy, 0.1", "epsilon_greedy"),
    Strategy("epsilon_greedy, annealed", "epsilon_greedy", {"epsilon": 0.5, "anneal": 50.0}),
    Strategy("thompson, beta", "thompson"),
    Strategy("thompson, gaussian", "thompson", {"rewards": "gaussian"}),
    Strategy("ucb1", "ucb1"),
)
LINEAR = Strategy("linucb", "linucb")


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    curves = {one.title: _mean(one, options.seeds, _still) for one in STRATEGIES}
    theory = _theory()
    points = [100, 300, 1_000, 3_000, ROUNDS]
    console.print(_table("regret after so many requests", points, {**curves, **theory}))
    console.print(_table("in a world that depends on 16 features", points, _linear(options.seeds)))
    swapped = _swapped(options.seeds)
    late = [ROUNDS // 2, ROUNDS * 6 // 10, ROUNDS * 8 // 10, ROUNDS]
    console.print(_table(f"where the arms swap after {ROUNDS // 2:,} requests", late, swapped))
    if options.plot is not None:
        _plot(options.plot, {**curves, **theory})
    return _goals(curves["ucb1"], theory["bound of ucb1"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bandits", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="worlds (default: 10)")
    parser.add_argument("--plot", metavar="FILE", help="draw the curves, as PNG (needs Matplotlib)")
    return parse(parser, seeds=1)


def _still(number: int) -> Mapping[str, float]:
    return ARMS


def _swap(number: int) -> Mapping[str, float]:
    return ARMS if number < ROUNDS // 2 else SWAPPED


def _mean(
    strategy: Strategy, seeds: int, world: Callable[[int], Mapping[str, float]], **more: Any
) -> Curve:
    print(f"playing {strategy.title} {more or ''}", file=sys.stderr)
    found = [_play(strategy.bandit(seed, **more), seed, world) for seed in range(seeds)]
    return np.mean(found, axis=0)  # type: ignore[no-any-return]


def _play(bandit: Bandit, seed: int, world: Callable[[int], Mapping[str, float]]) -> Curve:
    """Regret after each of the requests, whose rewards are 0 or 1 and known at once."""
    luck = np.random.default_rng([seed, 1]).random(ROUNDS).tolist()
    state, lost = State.empty(bandit.routes), []
    for number, point in enumerate(luck):
        means = world(number)
        route = bandit.route()
        lost.append(BEST - means[route])
        state = bandit.after(state, route, float(point < means[route]))
        bandit.learn(state)
    return np.array(list(accumulate(lost)))


def _theory() -> dict[str, Curve]:
    """Bounds of the expected regret after each of the requests, and that of chance."""
    times = np.arange(1.0, ROUNDS + 1)
    least = sum(gap / _divergence(BEST - gap, BEST) for gap in GAPS)
    proven = 8 * sum(1 / gap for gap in GAPS)
    return {
        "bound of Lai and Robbins": least * np.log(times),
        "bound of ucb1": proven * np.log(times) + (1 + math.pi**2 / 3) * sum(GAPS),
        "chance": times * sum(GAPS) / len(ARMS),
    }


def _divergence(p: float, q: float) -> float:
    """Kullback and Leibler's, of a coin of mean p from one of mean q."""
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def _swapped(seeds: int) -> dict[str, Curve]:
    chosen = [one for one in STRATEGIES if one.title in ("thompson, beta", "ucb1")]
    return {
        f"{one.title}{f', decay {HALF_LIFE:g}' if decay else ''}": _mean(
            one, seeds, _swap, **({"decay": HALF_LIFE} if decay else {})
        )
        for one in chosen
        for decay in (False, True)
    }


def _linear(seeds: int) -> dict[str, Curve]:
    """LinUCB, and the route that is best for all requests together."""
    print("playing linucb", file=sys.stderr)
    found = [_play_linear(LINEAR.bandit(seed), seed) for seed in range(seeds)]
    ours, blind = (np.mean([pair[place] for pair in found], axis=0) for place in (0, 1))
    return {"linucb": ours, "the best single route": blind}


def _play_linear(bandit: Bandit, seed: int) -> tuple[Curve, Curve]:
    rng = np.random.default_rng([seed, 2])
    truth = rng.normal(size=(len(ARMS), FEATURES)) / math.sqrt(FEATURES)
    state, lost, blind = State.empty(bandit.routes), [], []
    for _ in range(ROUNDS):
        x = rng.normal(size=(1, FEATURES)).astype(np.float32)
        means = truth @ x[0]
        choice: Any = bandit.route(x=x)
        earned = float(means[bandit.routes.index(choice)])
        lost.append(float(means.max()) - earned)
        blind.append(means.max() - means)
        reward = earned + NOISE * rng.normal()
        state = bandit.after(state, choice, reward, choice.features)
        bandit.learn(state)
    single = np.cumsum(np.array(blind), axis=0)
    return np.cumsum(lost), single[:, single[-1].argmin()]


def _table(title: str, points: Sequence[int], curves: Mapping[str, Curve]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for point in points:
        table.add_column(f"{point:,}", justify="right")
    for name, curve in curves.items():
        table.add_row(name, *(f"{curve[point - 1]:.1f}" for point in points))
    return table


def _plot(path: str, curves: Mapping[str, Curve]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, curve in curves.items():
        axes.plot(curve, label=name, linestyle="--" if name in _theory() else "-")
    axes.set(xscale="log", yscale="log", xlabel="requests", ylabel="regret", xlim=(10, ROUNDS))
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def _goals(ucb1: Curve, bound: Curve) -> int:
    share = float((ucb1 / bound).max())
    goals = [(f"regret of ucb1: at most {share:.2f} of its bound (goal: 1)", share <= 1)]
    for one in (*STRATEGIES, LINEAR):
        taken = decision_seconds(one) * 1e6
        text = f"a decision of {one.title}: {taken:.2f} us (goal: {GOAL_US:g})"
        goals.append((text, taken <= GOAL_US))
    return outcome(goals)


def decision_seconds(strategy: Strategy) -> float:
    """How long one of three routes takes to choose, after some rewards; LinUCB by 16 features."""
    bandit, rng = strategy.bandit(0), np.random.default_rng(0)
    inputs: dict[str, Any] = {}
    if strategy is LINEAR:
        inputs = {"x": rng.normal(size=(1, FEATURES)).astype(np.float32)}
    state = State.empty(bandit.routes)
    for number in range(300):
        route = bandit.routes[number % len(bandit.routes)]
        features = tuple(rng.normal(size=FEATURES).tolist()) if inputs else ()
        state = bandit.after(state, route, float(rng.random() < ARMS[route]), features)
    bandit.learn(state)
    return statistics.median(_seconds(bandit, inputs) for _ in range(REPEATS))


def _seconds(bandit: Bandit, inputs: Mapping[str, Any]) -> float:
    start = time.perf_counter()
    for _ in range(DECISIONS):
        bandit.route(**inputs)
    return (time.perf_counter() - start) / DECISIONS


if __name__ == "__main__":
    sys.exit(main())
