"""Many deploys in a row leave behind what retention keeps, and nothing else.

Forty show whether anything grows with each deploy, in a quarter of the time of two hundred.
"""

from __future__ import annotations

import faulthandler
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Given, node, spec, value
from tests.e2e.left_behind import LeftBehind, is_at_rest, logs
from tests.engines import Engine, actor_processes, done
from tests.waiting import until, until_true

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.nightly]
CODE = """
class Add:
    def transform(self, x):
        return x + {number}
"""
FIRST = 20
"""Deploys before the first look, after which caches are warm."""
REVISIONS, EVENTS, LOGS = 10, 100, 200
"""What the engine is told to keep."""
AT_ONCE = 8
"""Revisions, bundles, files and logs that a deploy may add after the round that would collect."""
ROUND_S = 180
"""Time in which the housekeeping has been there, whatever the machine does beside."""
MOST_GROWTH = 24
"""MiB by which a process may grow once: allocators keep what was free once, and Python's collector
parts the pages that a fork shared with its parent, some 20 MiB."""
AGENT, SERVE = "ray::DashboardAgent", "ray::ServeController"
PER_DEPLOY = {AGENT: 0.1, SERVE: 0.8}
"""MiB by which a process of Ray grows further with each deploy (docs/failures.md): the agent keeps
counters and histograms of processes that have ended, Serve's controller what applications were."""


@pytest.fixture(autouse=True)
def all_the_time_it_takes() -> None:
    """Each deploy and each wait has a limit of its own; two hundred take longer than any test."""
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Engine]:
    """An engine that keeps little: no revision stays warm, and no bundle that none uses."""
    env = {
        "ANABRANCH_GRACE": "0",
        "ANABRANCH_BUNDLE_AGE": "0",
        "ANABRANCH_MAX_REVISIONS": str(REVISIONS),
        "ANABRANCH_MAX_EVENTS": str(EVENTS),
        "ANABRANCH_LOG_FILES": str(LOGS),
    }
    engine = Engine(tmp_path / "home", env)
    engine.up()
    yield engine
    engine.down()


MOST_WARM = 3


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Engine]:
    """An engine whose revisions would stay warm for longer than any test takes."""
    env = {"ANABRANCH_GRACE": "3600", "ANABRANCH_MAX_WARM": str(MOST_WARM)}
    engine = Engine(tmp_path / "home", env)
    engine.up()
    yield engine
    engine.down()


def test_warm_revisions_have_processes_up_to_their_bound(warm: Engine, tmp_path: Path) -> None:
    given = Given(warm, tmp_path)
    last = 2 * MOST_WARM + 2
    for number in range(1, last + 1):
        given.deployed(spec("many", add=node("Add")), CODE.format(number=number))
    given.settled("many", last)
    heads = [f"ServeReplica:many.r{number}.head:" for number in range(1, last + 1)]
    kept = heads[-1 - MOST_WARM : -1]
    until(lambda: [one for one in heads if actor_processes(warm, one)] == kept, ROUND_S)
    assert len(actor_processes(warm, *heads)) == MOST_WARM
    assert len(actor_processes(warm, "ServeReplica:many:")) == 1
    told = f"gone early: more than {MOST_WARM} revisions of the engine were warm"
    assert told in done(warm.command("status", "many")).stdout
    assert value(warm.infer("many")) == [1 + last, 2 + last]


@pytest.mark.parametrize("deploys", [40, 200])
def test_nothing_is_left_of_what_was_replaced(own: Engine, tmp_path: Path, deploys: int) -> None:
    given = Given(own, tmp_path)

    def deploy(number: int) -> None:
        name = given.deployed(spec("many", add=node("Add")), CODE.format(number=number))
        assert value(own.infer(name)) == [1 + number, 2 + number]

    def look() -> LeftBehind:
        until(lambda: is_at_rest(own, "many"), ROUND_S)
        return LeftBehind.of(own)

    deploy(0)
    rows = look().rows
    for number in range(1, FIRST):
        deploy(number)
    before = look()
    for number in range(FIRST, FIRST + deploys):
        deploy(number)

    def settled() -> None:
        after = look()
        assert after.processes == before.processes
        assert after.shared == before.shared
        assert (len(after.servers), after.entries) == (len(before.servers), before.entries)
        assert not grown(before.files, after.files, lambda _: AT_ONCE)
        assert not grown(before.descriptors, after.descriptors, lambda _: AT_ONCE)
        assert not grown(before.memory, after.memory, lambda name: most_growth(name, deploys))
        check_store(rows, after.rows)
        check_home(own)
        assert len(logs(own)) <= LOGS + AT_ONCE

    until_true(settled, ROUND_S)


def most_growth(process: str, deploys: int) -> float:
    """Return the MiB by which a process may grow in so many deploys."""
    return MOST_GROWTH + PER_DEPLOY.get(process, 0.0) * deploys


def grown(
    before: Counter[str], after: Counter[str], most: Callable[[str], float]
) -> dict[str, tuple[int, int]]:
    """Return the counts, before and after, of what has grown by more than it may."""
    return {
        name: (before[name], count)
        for name, count in after.items()
        if count - before[name] > most(name)
    }


def check_store(first: Counter[str], rows: Counter[str]) -> None:
    """Hold the rows to retention: the oldest revisions and events go in the next round.

    All other tables have the rows that they had after the ``first`` deploy.
    """
    kept = {"revisions": REVISIONS + AT_ONCE, "events": EVENTS + AT_ONCE}
    assert not {name: rows[name] for name, most in kept.items() if rows[name] > most}
    assert {**rows, **kept} == {**first, **kept}


def check_home(engine: Engine) -> None:
    """Hold the bundles to those of the revisions on record; nothing asked for an environment."""
    assert len(list((engine.home / "bundles").iterdir())) <= REVISIONS + AT_ONCE
    assert list((engine.home / "environments").glob("*")) == []
