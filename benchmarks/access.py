"""What a check of who asks costs a request: ``python -m benchmarks.access``.

In this process, without an engine: the guard of a router with a table of many keys, by what a
request shows. Most requests show what was shown before; the first with a key, and those with one
that is not known, take a digest. Times are medians over turns, of one thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle

from rich import box
from rich.console import Console
from rich.table import Table

from anabranch.access.failures import Failures
from anabranch.access.guard import NOTHING, Credentials, Guard
from anabranch.access.identity import Identity
from anabranch.access.keys import digest_of, make_key
from anabranch.access.roles import Grant
from anabranch.access.table import AccessTable, KnownKey
from anabranch.errors import RequestError
from benchmarks.options import parse
from benchmarks.outcome import outcome

GRAPH = "team-a-shop"
GOAL_US = 5.0
TURNS = 7
WIDTH = 120


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    keys = [make_key() for _ in range(options.keys)]
    shown = [Credentials(f"Bearer {key}".encode()) for key in keys]
    made = _table(keys)
    guard = Guard(made, GRAPH)
    few = cycle(shown[:8])
    unknown = cycle([Credentials(f"Bearer {make_key()}".encode()) for _ in range(64)])
    measured = {
        "a key that was shown before": _microseconds(
            lambda: guard.check("call", next(few)), options.checks
        ),
        "nothing": _microseconds(lambda: guard.check("describe", NOTHING), options.checks),
        "a key for the first time": _first(made, shown),
        "a key that is not known": _microseconds(_refused(made, unknown.__next__), options.checks),
    }
    rows = Table(title=f"of {options.keys:,} keys", title_justify="left", box=box.SIMPLE_HEAD)
    rows.add_column("what a request shows")
    rows.add_column("µs a check", justify="right")
    for name, value in measured.items():
        rows.add_row(name, f"{value:.2f}")
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(rows)
    known = measured["a key that was shown before"]
    return outcome([(f"a check of a key takes {known:.2f} <= {GOAL_US:g} µs", known <= GOAL_US)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.access", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000, help="keys (default: 1000)")
    parser.add_argument("--checks", type=int, default=50_000, help="of a turn (default: 50000)")
    return parse(parser, keys=100, checks=1_000)


def _table(keys: list[str]) -> AccessTable:
    """Keys with three roles each; callers without one may ask what there is."""
    grants = (Grant("caller", "team-a-*"), Grant("teacher", "team-a-*"), Grant("viewer", "demo"))
    known = {
        digest_of(key): KnownKey(Identity("key", str(number), grants), time.time() + 86_400)
        for number, key in enumerate(keys)
    }
    return AccessTable(1, known, (Grant("viewer"),))


def _first(made: AccessTable, shown: list[Credentials]) -> float:
    """Each key once, before a guard that has seen none."""

    def turn() -> float:
        fresh, keys = Guard(made, GRAPH), iter(shown)
        return _turn(lambda: fresh.check("call", next(keys)), len(shown))

    return statistics.median(turn() for _ in range(TURNS))


def _refused(made: AccessTable, key: Callable[[], Credentials]) -> Callable[[], None]:
    guard = Guard(made, GRAPH, failures=Failures())

    def check() -> None:
        with suppress(RequestError):
            guard.check("call", key(), "10.0.0.1")

    return check


def _microseconds(check: Callable[[], object], count: int) -> float:
    return statistics.median(_turn(check, count) for _ in range(TURNS))


def _turn(check: Callable[[], object], count: int) -> float:
    """Return the microseconds that one check takes, of so many in a row."""
    started = time.perf_counter()
    for _ in range(count):
        check()
    return (time.perf_counter() - started) / count * 1e6


if __name__ == "__main__":
    sys.exit(main())
