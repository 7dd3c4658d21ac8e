"""Measures every contender alone, several rounds over, so that a busy minute hits all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.contenders import Contender
from benchmarks.load import Load, load
from benchmarks.running import NotMeasured, running

CONNECTIONS = (1, 32)
WARM_UP_S = 1

Say = Callable[[str], None]


@dataclass(frozen=True)
class Pace:
    """How a run is done: seconds of each load, rounds, and the load generator."""

    seconds: int
    rounds: int
    tool: str


@dataclass
class Measured:
    """A contender's loads by number of connections, a list a round; or why there are none."""

    contender: Contender
    loads: dict[int, list[Load]] = field(default_factory=lambda: {n: [] for n in CONNECTIONS})
    problem: str = ""

    def median(self, connections: int) -> Load | None:
        """The medians over all rounds, with all failures; None where there is no round."""
        rounds = self.loads[connections]
        if self.problem or not rounds:
            return None
        return Load(
            p50=statistics.median(one.p50 for one in rounds),
            p99=statistics.median(one.p99 for one in rounds),
            rate=statistics.median(one.rate for one in rounds),
            answered=sum(one.answered for one in rounds),
            failed=sum(one.failed for one in rounds),
        )

    def to_json(self) -> dict[str, object]:
        """Everything, for the results file."""
        rounds = {str(n): [asdict(one) for one in loads] for n, loads in self.loads.items()}
        medians = {str(n): self.median(n) for n in CONNECTIONS}
        return {
            "title": self.contender.title,
            "goal": self.contender.goal,
            "problem": self.problem,
            "rounds": rounds,
            "medians": {n: asdict(one) for n, one in medians.items() if one is not None},
        }


def measure(
    contenders: Sequence[Contender], pace: Pace, problems: dict[str, str], say: Say
) -> list[Measured]:
    """Measure all; ``problems``, by peer, says which peers cannot run."""
    found = [Measured(one, problem=problems.get(one.peer or "", "")) for one in contenders]
    for number in range(1, pace.rounds + 1):
        for measured in _able(found):
            say(f"round {number} of {pace.rounds}: {measured.contender.title}")
            _round(measured, pace, say)
    return found


def _able(found: Iterable[Measured]) -> list[Measured]:
    return [measured for measured in found if not measured.problem]


def _round(measured: Measured, pace: Pace, say: Say) -> None:
    try:
        with running(measured.contender) as url:
            load(url, max(CONNECTIONS), WARM_UP_S, pace.tool)
            for connections in CONNECTIONS:
                found = load(url, connections, pace.seconds, pace.tool)
                measured.loads[connections].append(found)
    except NotMeasured as problem:
        say(f"  not measured: {problem}")
        measured.problem = str(problem)
