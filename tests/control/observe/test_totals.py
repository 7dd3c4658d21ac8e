from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.observe import totals as module
from anabranch.control.observe.totals import MAX_SILENT, SILENCE, ArmTotals
from anabranch.router.measure.tally import MirrorTally, Report, Tally, merged
from tests.clock import Clock

G = "digits"


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def totals(clock: Clock) -> ArmTotals:
    return ArmTotals(clock)


def arms(**requests: int) -> Report:
    """A report by revision: ``arms(r1=5)``."""
    return Report({int(name[1:]): Tally(requests=count) for name, count in requests.items()})


def counted(report: Report) -> dict[int, int]:
    return {number: tally.requests for number, tally in report.arms.items()}


def test_the_last_report_of_each_router_counts(totals: ArmTotals) -> None:
    for report in (arms(r1=3), arms(r1=5, r2=1), arms(r1=5, r2=1)):
        totals.take(G, "a", report)
    totals.take(G, "b", arms(r1=10))
    assert counted(totals.totals(G)) == {1: 15, 2: 1}


def test_graphs_are_apart(totals: ArmTotals) -> None:
    totals.take(G, "a", arms(r1=3))
    totals.take("other", "a", arms(r1=4))
    assert counted(totals.totals(G)) == {1: 3}
    totals.forget(G)
    assert counted(totals.totals(G)) == {}
    assert counted(totals.totals("other")) == {1: 4}
    totals.forget("unknown")


def test_an_unknown_graph_has_counted_nothing(totals: ArmTotals) -> None:
    assert totals.totals(G) == totals.watched(G) == Report()
    assert totals.recent(G) == (Report(), 0.0)


def test_what_a_router_counted_before_it_was_heard_of_is_in_no_window(totals: ArmTotals) -> None:
    totals.take(G, "a", arms(r1=1000))
    totals.take(G, "a", arms(r1=1007, r2=3))
    assert counted(totals.watched(G)) == {1: 7, 2: 3}
    assert counted(totals.totals(G)) == {1: 1007, 2: 3}


def test_a_router_that_began_anew_adds_to_what_it_had(totals: ArmTotals) -> None:
    totals.take(G, "a", arms(r1=10, r2=10))
    totals.take(G, "a", arms(r1=4, r2=12))
    assert counted(totals.totals(G)) == {1: 14, 2: 12}
    assert counted(totals.watched(G)) == {1: 4, 2: 2}


def test_an_arm_that_a_router_no_longer_reports_stays(totals: ArmTotals) -> None:
    totals.take(G, "a", arms(r1=10, r2=10))
    totals.take(G, "a", arms(r2=11))
    totals.take(G, "a", arms(r1=2, r2=11))
    assert counted(totals.totals(G)) == {1: 12, 2: 11}


def test_copies_on_their_way_are_those_of_now(totals: ArmTotals) -> None:
    def copies(selected: int, pending: int) -> Report:
        return Report({}, {2: MirrorTally(selected=selected, sent=selected, pending=pending)})

    totals.take(G, "a", copies(5, 3))
    totals.take(G, "b", copies(7, 2))
    assert totals.totals(G).mirror(2) == MirrorTally(selected=12, sent=12, pending=5)
    totals.take(G, "a", copies(9, 0))
    assert totals.totals(G).mirror(2) == MirrorTally(selected=16, sent=16, pending=2)
    totals.take(G, "a", copies(9, 1))
    assert totals.watched(G).mirror(2) == MirrorTally(selected=4, sent=4, pending=3)


def test_answers_to_copies_count_when_they_come(totals: ArmTotals) -> None:
    sent = MirrorTally(selected=4, sent=4, pending=4)
    answered = MirrorTally(selected=4, sent=4, compared=3, agreed=2, errors=1)
    totals.take(G, "a", Report({}, {2: sent}))
    totals.take(G, "a", Report({}, {2: answered}))
    assert totals.totals(G).mirror(2) == answered


def test_what_came_lately(totals: ArmTotals, clock: Clock) -> None:
    for second in range(61):
        clock.now = float(second)
        totals.take(G, "a", arms(r1=second * 5))
    report, seconds = totals.recent(G)
    assert 10 <= seconds < 11.5
    assert report.arm(1).requests / seconds == pytest.approx(5, rel=0.12)


def test_what_came_lately_after_silence_is_little(totals: ArmTotals, clock: Clock) -> None:
    totals.take(G, "a", arms(r1=0))
    clock.now = 0.5
    totals.take(G, "a", arms(r1=100))
    clock.now = 60.0
    report, seconds = totals.recent(G)
    assert (report.arm(1).requests, seconds) == (100, 60.0)
    clock.now = 71.0
    report, seconds = totals.recent(G)
    assert (report.arm(1).requests, seconds) == (0, 11.0)


def test_what_came_lately_is_without_the_history_of_a_router(
    totals: ArmTotals, clock: Clock
) -> None:
    totals.take(G, "a", arms(r1=10**6))
    clock.now = 5.0
    totals.take(G, "a", arms(r1=10**6 + 10))
    report, seconds = totals.recent(G)
    assert (report.arm(1).requests, seconds) == (10, 5.0)


def test_memory_is_bounded_and_nothing_is_lost(
    totals: ArmTotals, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DROPPED", 500)
    for number in range(2000):
        clock.now = number * SILENCE / 10
        totals.take(G, f"router-{number}", arms(r1=3))
    account = totals._accounts[G]
    assert len(account.routers) <= MAX_SILENT + 10
    assert len(account.dropped) <= 500
    assert len(account.marks) <= 12
    assert counted(totals.totals(G)) == {1: 6000}


def test_routers_that_are_heard_of_are_kept_however_many(totals: ArmTotals, clock: Clock) -> None:
    for turn in range(1, 4):
        clock.now = turn * SILENCE / 2
        for number in range(200):
            totals.take(G, f"router-{number}", arms(r1=turn))
    assert counted(totals.totals(G)) == {1: 600}


def test_a_router_that_speaks_again_counts_nothing_twice(totals: ArmTotals, clock: Clock) -> None:
    totals.take(G, "quiet", arms(r1=50))
    clock.now = 2 * SILENCE
    for number in range(MAX_SILENT):
        totals.take(G, f"router-{number}", arms(r1=1))
    clock.now = 4 * SILENCE
    totals.take(G, "new", arms())
    assert "quiet" not in totals._accounts[G].routers
    totals.take(G, "quiet", arms(r1=52))
    assert counted(totals.totals(G)) == {1: 50 + MAX_SILENT}
    totals.take(G, "quiet", arms(r1=59))
    assert counted(totals.totals(G)) == {1: 57 + MAX_SILENT}


def work(sums: Report, revision: int, good: int, bad: int) -> None:
    """What a router counts of some requests that are all copied too."""
    tally = sums.arms.setdefault(revision, Tally())
    for _ in range(good):
        tally.record(0.01)
    for _ in range(bad):
        tally.fail("NodeError", 0.02)
    copies = sums.mirrors.setdefault(revision, MirrorTally())
    copies.selected, copies.sent = copies.selected + good + bad, copies.sent + good + bad


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["work", "work", "tell", "tell", "again", "die", "wait"]),
        st.sampled_from("abc"),
        st.integers(1, 3),
        st.integers(0, 5),
        st.integers(0, 2),
        st.floats(0, 700),
    ),
    max_size=60,
)


@given(STEPS)
def test_totals_are_exact_and_never_shrink(
    steps: list[tuple[str, str, int, int, int, float]],
) -> None:
    """Whatever is reported, in whatever rhythm: known at last is all that each router told."""
    clock = Clock(0.0)
    totals = ArmTotals(clock)
    routers = {name: Report() for name in "abc"}
    told: dict[str, Report] = {}
    generation = dict.fromkeys("abc", 0)
    for kind, name, revision, good, bad, pause in steps:
        before = totals.totals(G)
        if kind == "work":
            work(routers[name], revision, good, bad)
        elif kind in ("tell", "again"):
            for _ in range(2 if kind == "again" else 1):
                totals.take(G, f"{name}{generation[name]}", copy.deepcopy(routers[name]))
            told[f"{name}{generation[name]}"] = copy.deepcopy(routers[name])
        elif kind == "die":
            generation[name] += 1
            routers[name] = Report()
        else:
            clock.now += pause
            totals.recent(G)
        after = totals.totals(G)
        assert after == merged(told)
        assert all(after.arm(n).requests >= t.requests for n, t in before.arms.items())
        watched = totals.watched(G)
        assert all(t.requests <= after.arm(n).requests for n, t in watched.arms.items())
