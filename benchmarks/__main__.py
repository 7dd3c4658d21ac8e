"""Runs every benchmark in one go: ``python -m benchmarks``, or ``make bench``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks import environments, machine
from benchmarks.contenders import CONTENDERS
from benchmarks.in_process import Figure, figures
from benchmarks.load import tool
from benchmarks.options import add_peers, parse
from benchmarks.outcome import MET, NOT_MEASURED
from benchmarks.publish import publish
from benchmarks.report import Report, report, to_table
from benchmarks.rounds import Measured, Pace, measure

RESULTS = Path(__file__).parent / "results"
WIDTH = 160
"""Columns of the table where the output is no terminal."""


def main() -> int:
    """Measure, print, write; 1 if something could not be measured, whatever the figures are."""
    options = _options()
    start = time.monotonic()
    pace = Pace(options.seconds, options.rounds, options.tool)
    chosen = [one for one in CONTENDERS if one.name in options.only]
    chosen = [one for one in chosen if options.peers or not one.peer]
    problems = _install({one.peer for one in chosen if one.peer})
    say("the executor and the compiler, in this process")
    alone = figures()
    measured = measure(chosen, pace, problems, say)
    found = report(alone, measured)
    _show(found)
    path = _write(pace, alone, measured)
    if options.publish:
        publish(found, pace)
    say(f"{path}, after {time.monotonic() - start:.0f} s; load by {pace.tool}")
    return NOT_MEASURED if found.problems else MET


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    names = [one.name for one in CONTENDERS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="of each load (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="over all contenders (default: 3)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--tool", choices=("wrk", "python"), default=tool(), help="puts the load")
    parser.add_argument("--publish", action="store_true", help="put the table into the docs")
    add_peers(parser)
    return parse(parser, seconds=1, rounds=1)


def _install(peers: set[str]) -> dict[str, str]:
    """Install the peers; what cannot be, by peer."""
    problems = {}
    for peer in sorted(peers):
        say(f"installing {peer}")
        try:
            environments.install(peer)
        except environments.NotInstalled as problem:
            problems[peer] = str(problem)
    return problems


def _show(found: Report) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(to_table(found))
    for problem in found.problems:
        console.print(f"not measured: {problem}", markup=False)


def _write(pace: Pace, alone: Sequence[Figure], measured: Sequence[Measured]) -> Path:
    """Write everything as JSON."""
    now = datetime.now(UTC)
    peers = {one.contender.peer for one in measured if one.contender.peer and not one.problem}
    document = {
        "date": now.isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "pace": vars(pace),
        "peers": {peer: environments.installed(peer) for peer in sorted(peers)},
        "in_process": [{**vars(one), "met": one.met} for one in alone],
        "http": {one.contender.name: one.to_json() for one in measured},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
