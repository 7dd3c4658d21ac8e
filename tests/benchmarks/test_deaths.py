from __future__ import annotations

import asyncio
import math
from collections import Counter

from benchmarks.deaths import (
    GRAPHS,
    HUNG,
    KILLED,
    PAIRS,
    SIGNALS,
    STOPPED,
    Client,
    Fault,
    Found,
    of_components,
    of_graphs,
    of_helpers,
    of_ray,
)
from tests.benchmarks.test_load import Refuse, Reply, serving
from tests.waiting import until

FAULT = Fault("the gateway", "gateway", KILLED)


def found(*good: float, failed: int = 0) -> Found:
    """One client with good answers at these times, and another one a second later."""
    failures = Counter({"503": failed})
    clients = [Client("", list(good), failures), Client("", [at + 1 for at in good])]
    return Found(clients, struck=2.0, ended=6.5)


def test_the_client_that_waits_longest_counts_after_the_fault_alone() -> None:
    one = found(0.0, 1.5, 5.0, 5.5)
    assert one.without == 3.5
    one.struck = 5.2
    assert one.without == 3.5  # of the other one
    one.struck = 6.2
    assert one.without == math.inf  # the first one has not been answered since


def test_goals_are_told_with_what_failed() -> None:
    assert found(1.0, 4.0).goals(FAULT) == [
        ("the gateway killed: 3.00 s without an answer (goal: 5)", True),
        ("the gateway killed: 0 of 4 requests failed (goal: 0)", True),
    ]
    assert found(1.0, 9.0, failed=2).goals(FAULT) == [
        ("the gateway killed: 8.00 s without an answer (goal: 5)", False),
        ("the gateway killed: 2 of 6 requests failed (2 503) (goal: 0)", False),
    ]


def test_what_has_no_goal_is_told_too() -> None:
    hung = Fault("a component", "router", HUNG, back=None, spares=False)
    assert found(1.0, 9.0, failed=2).goals(hung) == [
        ("a component hung: 8.00 s without an answer (goal: none)", True),
        ("a component hung: 2 of 6 requests failed (2 503)", True),
        ("a component hung: ended after 4.50 s (goal: 5)", True),
    ]


def test_all_faults_are_told_apart_and_their_graphs_are_there() -> None:
    faults = [*of_helpers(), *of_graphs(), *of_components()]
    faults += [one for kind in SIGNALS for one in of_ray(kind)]
    assert len({(one.name, one.kind) for one in faults}) == len(faults)
    assert {one.graph for one in faults} == set(GRAPHS)
    assert {one.kind for one in faults} == {KILLED, STOPPED, HUNG}
    assert set(PAIRS) <= {one.title for one in faults}


def test_a_client_notes_answers_and_failures() -> None:
    async def asked(url: str) -> Client:
        client = Client(url)
        task = asyncio.create_task(client.ask())
        await asyncio.to_thread(
            until, lambda: len(client.good) >= 3 or client.failures.total() >= 3
        )
        task.cancel()
        return client

    with serving(Reply) as url:
        well = asyncio.run(asked(url))
    assert len(well.good) >= 3 and not well.failures
    with serving(Refuse) as url:
        ill = asyncio.run(asked(url))
    assert not ill.good and ill.failures.keys() == {"500"}
    gone = asyncio.run(asked(url))
    assert not gone.good and gone.failures.keys() == {"ConnectError"}
