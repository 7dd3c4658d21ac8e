"""The driver in a model of the world: time, traffic, and a writer that keeps all in memory."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.analysis import NO_DRIFT, DriftScore
from anabranch.control.lifecycle.operations import (
    Change,
    Intent,
    Moment,
    Note,
    Operation,
    Overtaken,
    Situation,
)
from anabranch.control.lifecycle.rollouts import RolloutState
from anabranch.control.observe.looks import LookHistory
from anabranch.control.rollout.driver import RolloutDriver
from anabranch.control.rollout.outgoing import Caller, OutgoingReply
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Stored
from anabranch.errors import Conflict, Unavailable
from anabranch.router.measure.tally import Report, Tally
from anabranch.specs.models import Rollout

G, OTHER = "digits", "letters"
GATE = "http://gate/ask"
SLACK = 1.0
"""What the driver may need beside the intervals, in seconds."""
ERRORS = {"metric": "error_rate", "max": 0.01}


@dataclass
class Arm:
    """How a revision does."""

    failing: float = 0.0
    seconds: float = 0.01


@dataclass
class World:
    """Time goes on when the driver sleeps; requests come meanwhile, and spread by weight."""

    now: float = 1000.0
    rate: float = 100.0
    arms: dict[int, Arm] = field(default_factory=lambda: {1: Arm(), 2: Arm()})
    graphs: dict[str, Situation] = field(default_factory=dict)
    notes: list[tuple[float, Note]] = field(default_factory=list)
    sums: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    """By graph and revision: requests and errors."""
    reply: Callable[[str, Any], Coroutine[Any, Any, OutgoingReply]] | None = None
    calls: list[tuple[float, str, Any]] = field(default_factory=list)
    drifts: dict[int, DriftScore] = field(default_factory=dict)
    looks: LookHistory = field(default_factory=LookHistory)
    broken: int = 0
    """Times that the store, and then the writer, will fail."""
    refusal: str = ""
    """Why no change of weights is taken, as by the checks of shared models; empty for none."""
    cut_off: int = 0
    """Times that the writer will fail after it has written."""
    crash_at: int = -1
    points: int = 0
    crashed: bool = False

    def begin(self, graph: str = G, **plan: Any) -> None:
        """A graph whose revision 2 is rolled out over 1, as from now."""
        intent = Intent("rollout", 100.0, Rollout.model_validate({"steps": [10, 50], **plan}))
        now = Situation(graph)
        for number, aim in ((1, Intent()), (2, intent)):
            now = operations.created(now, number, aim).situation
            now = operations.arrived(now, Moment(self.now, 600.0), number).situation
        self.graphs[graph] = now

    def apply(self, operation: Callable[..., Change], *arguments: str) -> None:
        """Do to the first graph what a user asks for."""
        moment = Moment(self.now, 600.0)
        self.graphs[G] = operation(self.graphs[G], moment, *arguments).situation

    def state(self, graph: str = G) -> RolloutState:
        found = self.graphs[graph].rollout
        assert found is not None
        return found

    def weight(self, graph: str = G) -> float:
        return self.graphs[graph].weights.get(2, 0.0)

    def told(self, *kinds: str) -> list[Note]:
        return [note for _, note in self.notes if not kinds or note.kind in kinds]

    def when(self, kind: str) -> float:
        """When the last event of a kind happened."""
        return [at for at, note in self.notes if note.kind == kind][-1]

    # --- what the driver uses

    def clock(self) -> float:
        return self.now

    def situations(self) -> list[Stored]:
        if self.broken:
            self.broken -= 1
            raise Unavailable("the database is away")
        return [Stored(situation, 1) for situation in self.graphs.values()]

    async def change(self, graph: str, operation: Operation) -> Stored:
        await self.point()
        if self.broken:
            self.broken -= 1
            raise Unavailable("the database is away")
        now = self.graphs[graph]
        tried = Moment(self.now, 60.0)
        assert operation(now, tried) == operation(now, tried)
        change = operation(now, Moment(self.now, 600.0))
        if self.refusal and change.situation.weights != now.weights:
            raise Conflict(self.refusal)
        self.graphs[graph] = change.situation
        self.notes += [(self.now, note) for note in change.notes]
        json.dumps([note.data for note in change.notes], allow_nan=False)
        if self.cut_off:
            self.cut_off -= 1
            raise Unavailable("the database went away")
        await self.point()
        return Stored(change.situation, 1)

    def drift(self, graph: str, revision: int, since: float) -> DriftScore:
        return self.drifts.get(revision, NO_DRIFT) if self.now > since else NO_DRIFT

    def watched(self, graph: str) -> Report:
        return Report(
            {
                number: self._tally(number, int(requests), int(errors))
                for number, (requests, errors) in self.sums.get(graph, {}).items()
            }
        )

    def _tally(self, number: int, requests: int, errors: int) -> Tally:
        one = Tally()
        one.record(self.arms[number].seconds)
        latency = replace(one.latency, counts=dict.fromkeys(one.latency.counts, requests))
        return Tally(requests, errors, {"NodeError": errors}, latency)

    async def sleep(self, seconds: float) -> None:
        await self.point()
        self.now += seconds
        for graph, situation in self.graphs.items():
            total = sum(situation.weights.values())
            for number, weight in situation.weights.items():
                sums = self.sums.setdefault(graph, {}).setdefault(number, [0.0, 0.0])
                came = self.rate * seconds * weight / total
                sums[0] += came
                sums[1] += came * self.arms[number].failing
        for _ in range(10):  # let what is at work finish
            await asyncio.sleep(0)

    async def point(self) -> None:
        """Where the process may die: it never goes on from here."""
        self.points += 1
        if self.points == self.crash_at:
            self.crashed = True
        if self.crashed:
            await asyncio.Event().wait()


class Outside(Caller):
    """The world's answers to calls."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    async def call(self, method: str, url: str, most: int, **request: Any) -> OutgoingReply:
        world = self._world
        await world.point()
        world.calls.append((world.now, url, request.get("json") or request.get("params")))
        assert world.reply is not None
        reply = await world.reply(url, request)
        await world.point()
        return reply


Until: TypeAlias = Callable[[], bool]


def drive(world: World, until: Until, seconds: float = 600.0) -> None:
    """Let a new driver work until something is so, a crash comes, or the time is over."""
    settings = Settings(Path(), "", webhooks=("http://gate",), prometheus="http://prometheus:9090")
    end = world.now + seconds

    async def run() -> None:
        driver = RolloutDriver(
            world, world, world, settings, world, world.looks,
            caller=Outside(world), clock=world.clock, sleep=world.sleep,
        )  # fmt: skip
        task = asyncio.create_task(driver.run())
        async with asyncio.timeout(120):
            while not until() and not world.crashed and world.now < end:
                assert not task.done()
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def wait(world: World, seconds: float) -> None:
    drive(world, lambda: False, seconds)


def over(world: World, graph: str = G) -> Until:
    return lambda: not world.state(graph).active


def analysis(*metrics: dict[str, Any], **limits: Any) -> dict[str, Any]:
    return {"interval": "10s", "metrics": list(metrics or (ERRORS,)), **limits}


def always(reply: OutgoingReply) -> Callable[[str, Any], Coroutine[Any, Any, OutgoingReply]]:
    async def answer(url: str, request: Any) -> OutgoingReply:
        return reply

    return answer


async def never(url: str, request: Any) -> OutgoingReply:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.fixture
def world() -> World:
    return World()


def test_a_good_candidate_goes_through_all_steps(world: World) -> None:
    world.begin(steps=[5, 25, 50], hold="30s", analysis=analysis())
    began, seen = world.now, []

    def watch() -> bool:
        if not seen or seen[-1] != world.weight():
            seen.append(world.weight())
        return not world.state().active

    drive(world, watch)
    assert seen == [5, 25, 50, 100]
    assert world.state().phase == "promoted"
    assert (world.graphs[G].stable, dict(world.graphs[G].weights)) == (2, {2: 100.0})
    assert 90 <= world.now - began <= 90 + 3 * SLACK
    assert len(world.told("analysis_pass")) == 9
    assert {note.kind for note in world.told()} == {
        "analysis_pass", "rollout_step", "rollout_promoted", "promoted",
    }  # fmt: skip


EVIDENCE = {"metric": "significance", "of": "error_rate", "max": 0.02}


def test_a_candidate_is_promoted_once_there_is_evidence_that_it_is_fine(world: World) -> None:
    world.arms = {1: Arm(failing=0.05), 2: Arm(failing=0.05)}
    world.begin(steps=[50], analysis=analysis(EVIDENCE))
    began = world.now
    drive(world, over(world), 3600)
    assert world.state().phase == "promoted"
    assert world.now - began > 20  # a threshold would have been content with the first look
    (*_, last) = world.told("analysis_pass")
    assert last.message.startswith("significance: error_rate of candidate minus stable ")
    assert "<= max 0.02 (p 0.0" in last.message


def test_a_candidate_is_stopped_as_soon_as_there_is_evidence_that_it_is_worse(
    world: World,
) -> None:
    world.arms = {1: Arm(failing=0.05), 2: Arm(failing=0.15)}
    world.begin(steps=[50], hold="1h", analysis=analysis(EVIDENCE))
    began = world.now
    drive(world, over(world), 3600)
    assert (world.state().phase, world.weight()) == ("aborted", 0.0)
    assert world.now - began < 120
    assert "> max 0.02 (p 0.0" in world.told("rollout_aborted")[0].message


def test_evidence_counts_each_request_once_over_all_steps_and_drivers(world: World) -> None:
    """A new driver goes on with what the store holds."""
    world.arms = {1: Arm(failing=0.05), 2: Arm(failing=0.05)}
    never = EVIDENCE | {"error": 1e-300}
    world.begin(steps=[10, 50], analysis=analysis(never, ERRORS | {"max": 1}))
    for _ in range(3):
        wait(world, 60)
    evidence = world.state().evidence["significance"].at_most
    assert evidence.all.a.number <= world.sums[G][2][0]
    # A driver that dies loses at most what came since its last look, and in its first interval.
    assert evidence.all.a.number >= world.sums[G][2][0] - 3 * 2 * 11 * world.rate * 0.1
    assert evidence.all.a.total / evidence.all.a.number == pytest.approx(0.05, rel=0.2)


def test_a_look_that_is_stored_but_not_acknowledged_counts_no_request_twice(world: World) -> None:
    world.begin(steps=[50], analysis=analysis(EVIDENCE | {"error": 1e-300}))
    world.cut_off = 3
    wait(world, 100)
    assert world.cut_off == 0
    evidence = world.state().evidence["significance"].at_most
    assert 0.5 * world.sums[G][2][0] < evidence.all.a.number <= world.sums[G][2][0]


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_candidate_that_fails_gets_nothing_any_more(world: World, limit: int) -> None:
    world.arms[2].failing = 0.2
    world.begin(hold="1h", analysis=analysis(failure_limit=limit))
    began = world.now
    drive(world, over(world))
    assert world.weight() == 0.0
    assert world.now - began <= (limit + 1) * 10 + SLACK
    assert dict(world.graphs[G].weights) == {1: 100.0}
    assert world.graphs[G].members[2].state == "warm"
    (*looks, aborted, _) = world.told()
    assert [note.kind for note in looks] == ["analysis_fail"] * (limit + 1)
    assert aborted.kind == "rollout_aborted"
    text = f"failed ({limit + 1}) > failure_limit ({limit}): error_rate 0."
    assert aborted.message.startswith(text)
    (found,) = looks[-1].data["measurements"]
    assert (found["verdict"], found["limit"]) == ("fail", 0.01)
    assert found["value"] == pytest.approx(0.2, rel=0.1)


def test_a_slow_candidate_is_stopped(world: World) -> None:
    world.arms[2].seconds = 0.03
    world.begin(analysis=analysis({"metric": "latency_p95", "max": "1.2x"}))
    drive(world, over(world))
    assert (world.state().phase, world.state().step, world.weight()) == ("aborted", 0, 0.0)


def test_one_that_turns_bad_later_is_stopped_too(world: World) -> None:
    world.begin(analysis=analysis())
    drive(world, lambda: world.state().step == 1)
    world.arms[2].failing = 0.2
    drive(world, over(world))
    assert (world.state().phase, world.state().step) == ("aborted", 1)


def test_without_samples_it_waits_and_goes_on_when_there_are_some(world: World) -> None:
    world.rate = 0.0
    world.begin(analysis=analysis())
    wait(world, 1000)
    state = world.state()
    assert (state.phase, state.step) == ("running", 0) and state.waiting_since is not None
    (measured,) = state.found
    assert measured.message == "error_rate: 0 requests < min_samples (1), 1 missing"
    assert len(world.told("analysis_inconclusive")) == 1
    world.rate = 100.0
    drive(world, over(world))
    assert world.state().phase == "promoted"
    assert not world.told("rollout_paused", "rollout_resumed")


def test_a_window_grows_until_a_look_has_a_say_and_begins_anew_then(world: World) -> None:
    world.rate = 10.0  # 1 request a second for the candidate
    world.begin(steps=[10, 50], hold="50s", analysis=analysis(min_samples=25))
    drive(world, lambda: len(world.told("analysis_pass")) == 2)
    looks = [
        (note.kind.removeprefix("analysis_"), note.data["measurements"][0]["samples"])
        for note in world.told("analysis_pass", "analysis_inconclusive")
    ]
    # That the second look, in the wait, is as inconclusive as the first one is no news.
    assert [verdict for verdict, _ in looks] == ["inconclusive", "pass"] * 2
    for (_, samples), about in zip(looks, [10, 30] * 2, strict=True):
        assert abs(samples - about) <= 2


def test_requests_of_the_step_before_do_not_count(world: World) -> None:
    world.begin(hold="12s", analysis=analysis())
    drive(world, lambda: len(world.told("analysis_pass")) == 2)
    first, second = world.told("analysis_pass")
    assert abs(first.data["measurements"][0]["samples"] - 100) <= 20
    assert second.data["step"] == 2
    assert abs(second.data["measurements"][0]["samples"] - 500) <= 50


def test_steps_without_hold_or_analysis_wait_for_resume(world: World) -> None:
    world.begin()
    for step in (0, 1):
        wait(world, 100)
        state = world.state()
        assert (state.phase, state.paused_by, state.step) == ("paused", "step", step)
        assert state.reason == f"step {step + 1} of 2 lasts until it is resumed"
        world.apply(operations.resumed)
    drive(world, over(world))
    assert world.state().phase == "promoted"


def test_a_rollout_without_analysis_goes_by_time(world: World) -> None:
    world.arms[2].failing = 1.0
    world.begin(hold="20s")
    drive(world, over(world))
    assert world.state().phase == "promoted"
    assert 40 <= world.now - 1000 <= 40 + 2 * SLACK


def test_a_gate_that_agrees_is_asked_before_each_move(world: World) -> None:
    world.reply = always(OutgoingReply(200))
    world.begin(hold="20s", gate=GATE)
    drive(world, over(world))
    assert world.state().phase == "promoted"
    assert [(url, asked["move"], asked["weight"]) for _, url, asked in world.calls] == [
        (GATE, "step", 10.0), (GATE, "promote", 50.0),
    ]  # fmt: skip


def test_a_gate_that_refuses_pauses_until_resume(world: World) -> None:
    world.reply = always(OutgoingReply(403, b"change freeze"))
    world.begin(hold="20s", gate=GATE)
    wait(world, 300)
    state = world.state()
    assert (state.phase, state.paused_by, state.step) == ("paused", "gate", 0)
    assert state.reason == f"the gate {GATE} refuses: status 403: change freeze"
    assert len(world.calls) == 1
    world.apply(operations.resumed)
    wait(world, 300)
    assert (world.state().paused_by, len(world.calls)) == ("gate", 2)
    world.reply = always(OutgoingReply(204))
    world.apply(operations.resumed)
    drive(world, over(world))
    assert world.state().phase == "promoted"


def test_a_gate_that_is_down_pauses(world: World) -> None:
    world.reply = always(OutgoingReply(None, error="unreachable: refused"))
    world.begin(hold="20s", gate=GATE)
    wait(world, 60)
    assert world.state().paused_by == "gate"
    assert len(world.calls) == 3


def test_a_manual_step_does_not_ask_its_gate_before_resume(world: World) -> None:
    world.reply = always(OutgoingReply(200))
    world.begin(gate=GATE)
    wait(world, 20)
    assert not world.calls
    assert world.state().paused_by == "step"


def test_while_a_gate_thinks_a_bad_candidate_is_found_out(world: World) -> None:
    world.reply = never
    world.begin(analysis=analysis(), gate=GATE)
    drive(world, lambda: bool(world.calls))
    world.arms[2].failing = 0.2
    at = world.now
    drive(world, over(world))
    assert (world.state().phase, world.weight()) == ("aborted", 0.0)
    assert world.now - at <= 20 + SLACK


def test_a_gates_answer_that_comes_too_late_changes_nothing(world: World) -> None:
    async def slow(url: str, request: Any) -> OutgoingReply:
        world.apply(operations.paused, "user", "stop")
        return OutgoingReply(200)

    world.reply = slow
    world.begin(hold="20s", gate=GATE)
    wait(world, 100)
    assert (world.state().step, world.state().paused_by) == (0, "user")


def test_a_gate_that_is_slower_than_the_looks_is_still_heard(world: World) -> None:
    async def slow(url: str, request: Any) -> OutgoingReply:
        asked = world.now
        while world.now < asked + 25:  # noqa: ASYNC110 (the time of the world; two intervals)
            await asyncio.sleep(0)
        return OutgoingReply(200)

    world.reply = slow
    world.begin(analysis=analysis(), gate=GATE)
    drive(world, over(world))
    assert world.state().phase == "promoted"
    assert len(world.calls) == 2
    assert world.now - 1000 > 2 * 25


@pytest.mark.parametrize("field", ["gate", "promql"])
def test_what_hangs_for_one_graph_holds_up_no_other(world: World, field: str) -> None:
    world.reply = never
    hanging: dict[str, Any] = {
        "gate": {"analysis": analysis(), "gate": GATE},
        "promql": {"analysis": analysis({"metric": "promql", "query": "up", "max": 1})},
    }[field]
    world.begin(**hanging)
    world.begin(OTHER, analysis=analysis())
    drive(world, over(world, OTHER))
    assert world.state(OTHER).phase == "promoted"
    assert world.now - 1000 <= 20 + 2 * SLACK
    assert world.state().step == 0


PROMQL = {"metric": "promql", "query": 'x{r="$revision", s="$stable"}', "max": 2}


def answered(value: str) -> Callable[[str, Any], Coroutine[Any, Any, OutgoingReply]]:
    body = {"status": "success", "data": {"resultType": "scalar", "result": [0, value]}}
    return always(OutgoingReply(200, json.dumps(body).encode()))


def test_prometheus_is_asked_at_each_look(world: World) -> None:
    world.reply = answered("1")
    world.begin(analysis=analysis(PROMQL))
    drive(world, over(world))
    assert world.state().phase == "promoted"
    url = "http://prometheus:9090/api/v1/query"
    assert [(called, asked) for _, called, asked in world.calls] == [
        (url, {"query": 'x{r="2", s="1"}'})
    ] * 2


def test_prometheus_may_end_a_rollout(world: World) -> None:
    world.reply = answered("2.5")
    world.begin(analysis=analysis(ERRORS, PROMQL))
    drive(world, over(world))
    assert world.state().reason.startswith("failed (1) > failure_limit (0): promql 2.5 > max 2")


def test_a_prometheus_that_is_down_holds_the_rollout_and_ends_it_at_last(world: World) -> None:
    world.reply = always(OutgoingReply(None, error="unreachable: refused"))
    world.begin(analysis=analysis(ERRORS, PROMQL))
    drive(world, over(world))
    assert [note.kind for note in world.told()[:5]] == ["analysis_error"] * 5
    assert world.state().step == 0
    text = "errors in a row (5) > consecutive_error_limit (4): promql: Prometheus: unreachable"
    assert world.state().reason.startswith(text)
    assert 50 <= world.now - 1000 <= 50 + SLACK


def test_a_bad_candidate_does_not_wait_for_prometheus(world: World) -> None:
    world.reply = never
    world.arms[2].failing = 0.2
    world.begin(analysis=analysis(PROMQL, ERRORS))
    drive(world, over(world))
    assert world.now - 1000 <= 10 + SLACK
    assert not world.calls


def test_a_look_that_comes_too_late_changes_nothing(world: World) -> None:
    async def slow(url: str, request: Any) -> OutgoingReply:
        world.begin(analysis=analysis(PROMQL))  # another rollout by then
        return OutgoingReply(400)

    world.reply = slow
    world.begin(analysis=analysis(PROMQL))
    drive(world, lambda: bool(world.calls))
    wait(world, 1)
    assert world.state().errors == {}
    assert not world.notes


def test_rollouts_that_are_paused_are_looked_at(world: World) -> None:
    world.begin(analysis=analysis())
    world.apply(operations.paused, "user", "")
    began = world.now
    wait(world, 100)
    assert len(world.told("analysis_pass")) == 1  # the others are no news
    looks = world.looks.view(G)
    assert len(looks) == 9 and {look["revision"] for look in looks} == {2}
    assert world.state().looked_at >= began + 90
    assert (world.state().paused_by, world.state().step) == ("user", 0)
    world.arms[2].failing = 0.2
    drive(world, over(world))
    assert world.state().phase == "aborted"


def test_a_new_driver_begins_its_window_anew(world: World) -> None:
    world.begin(hold="1h", analysis=analysis())
    wait(world, 5)
    world.now += 3600  # nobody drives for an hour
    at = world.now
    drive(world, lambda: bool(world.notes))
    assert 10 <= world.now - at <= 10 + SLACK
    (note,) = world.told()
    assert abs(note.data["measurements"][0]["samples"] - 100) <= 20


def test_a_store_that_is_away_is_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    world.begin(hold="20s")
    for _ in range(2):
        world.broken = 2
        wait(world, 15)
    drive(world, over(world))
    assert world.state().phase == "promoted"
    world.begin(hold="0s")

    def broken_once() -> bool:
        if world.state().step == 0 and not world.broken and not tried:
            world.broken = 3
            tried.append(True)
        return not world.state().active

    tried: list[bool] = []
    drive(world, broken_once)
    assert world.state().phase == "promoted"


def test_graphs_without_a_rollout_are_left_alone(world: World) -> None:
    world.begin(hold="0s")
    drive(world, over(world))
    told = len(world.notes)
    world.graphs[OTHER] = Situation(OTHER)
    wait(world, 100)
    assert len(world.notes) == told


def test_what_was_overtaken_is_no_failure(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def refuse(graph: str, operation: Any) -> Stored:
        world.calls.append((world.now, graph, None))
        raise Overtaken("overtaken")

    world.begin(hold="0s")
    world.change = refuse  # type: ignore[method-assign]
    drive(world, lambda: len(world.calls) == 3)
    assert not caplog.records


CRASHES: dict[str, dict[str, Any]] = {
    "by time": {"hold": "1s"},
    "judged": {"analysis": analysis() | {"interval": "1s"}},
    "judged outside": {"analysis": analysis(ERRORS, PROMQL) | {"interval": "1s"}},
    "asked": {"hold": "1s", "analysis": analysis() | {"interval": "1s"}, "gate": GATE},
}


@pytest.mark.parametrize("case", CRASHES)
def test_it_can_die_anywhere_and_goes_on_at_the_same_step(case: str) -> None:
    plan = CRASHES[case]
    crash_at = 0
    while True:
        crash_at += 1
        world = World(crash_at=crash_at)
        _die_once(world, plan)
        _check_history(world, plan)
        if world.points < crash_at:
            break
    assert crash_at > 20


def _die_once(world: World, plan: dict[str, Any]) -> None:
    answer = OutgoingReply(
        200, b'{"status":"success","data":{"resultType":"scalar","result":[0,"1"]}}'
    )
    world.reply = always(answer)
    world.begin(**plan)
    seen: list[tuple[int, float]] = []

    def watched() -> bool:
        stands = world.state().step, world.weight()
        if not seen or seen[-1] != stands:
            seen.append(stands)
        return not world.state().active

    drive(world, watched)
    if world.crashed:
        world.crashed, world.crash_at = False, -1
        drive(world, watched)
    assert seen == [(0, 10.0), (1, 50.0), (1, 100.0)]


def _check_history(world: World, plan: dict[str, Any]) -> None:
    """Each step once, in order, each with a pass if it is judged, and none too short."""
    assert world.state().phase == "promoted"
    moves = [
        (at, note)
        for at, note in world.notes
        if note.kind in ("rollout_step", "rollout_promoted", "analysis_pass")
    ]
    kinds = [note.kind for _, note in moves]
    assert [kind for kind in kinds if kind != "analysis_pass"] == [
        "rollout_step", "rollout_promoted",
    ]  # fmt: skip
    if "analysis" in plan:
        assert kinds[0] == "analysis_pass"
        assert kinds[kinds.index("rollout_promoted") - 1] == "analysis_pass"
    step, promotion = (world.when(kind) for kind in ("rollout_step", "rollout_promoted"))
    assert step - 1000 >= 1
    assert promotion - step >= 1
    asked = [question["move"] for _, url, question in world.calls if url == GATE]
    assert set(asked) == ({"step", "promote"} if "gate" in plan else set())
    assert len(asked) <= 3


@pytest.mark.parametrize(
    ("drift", "ends"),
    [(DriftScore(0.4, 400), "promoted"), (DriftScore(1.7, 400), "aborted")],
)
def test_a_rollout_goes_by_the_monitors_of_its_candidate(drift: DriftScore, ends: str) -> None:
    world = World(drifts={1: DriftScore(9.0, 400), 2: drift})
    world.begin(analysis=analysis({"metric": "drift", "max": 1}))
    drive(world, over(world))
    assert world.state().phase == ends


def test_before_the_first_window_drift_is_not_known() -> None:
    world = World()
    world.begin(analysis=analysis({"metric": "drift", "max": 1}))
    wait(world, 60)
    assert world.state().active and world.state().step == 0
    (found,) = world.state().found
    assert found.verdict == "inconclusive"
    assert found.message == "drift: 0 rows of windows < min_samples (1), 1 missing"


# Approvals


def test_a_rollout_asks_for_an_approval_before_each_step_and_its_promotion() -> None:
    world = World()
    world.begin(hold="20s", gate=GATE, approve={"role": "operator"})
    world.reply = always(OutgoingReply(200))
    for step in range(2):
        drive(world, lambda: world.state().paused_by == "approval")
        assert (world.state().step, len(world.calls)) == (step, step)  # the gate is asked after it
        held = world.now
        drive(world, lambda: False, seconds=60.0)
        assert world.state().phase == "paused" and world.now >= held + 60
        world.apply(lambda now, at: operations.approved(now, at, "key 'bob'", lambda _: True))
        drive(world, lambda step=step: world.state().step > step or not world.state().active)
    assert world.state().phase == "promoted"
    assert [call[2]["move"] for call in world.calls] == ["step", "promote"]


def test_a_candidate_that_turns_bad_is_found_while_its_approval_is_waited_for() -> None:
    world = World()
    analysis = {"interval": "10s", "metrics": [ERRORS]}
    world.begin(hold="20s", approve={"role": "operator"}, analysis=analysis)
    drive(world, lambda: world.state().paused_by == "approval")
    world.arms[2] = Arm(failing=0.5)
    drive(world, lambda: not world.state().active)
    assert (world.state().phase, world.state().paused_by) == ("aborted", None)


MISFIT = "revision 2 of shared model 'digits' does not fit graphs that use it"


@pytest.mark.parametrize("steps", [[10, 50], [10]])
def test_a_move_that_is_refused_pauses_the_rollout_and_says_why(
    world: World, steps: list[int]
) -> None:
    """A step, and a promotion: nothing is lost, and nothing is tried before somebody resumes it."""
    world.begin(steps=steps, hold="10s")
    world.refusal = MISFIT
    wait(world, 60)
    state = world.state()
    assert (state.phase, state.paused_by, state.reason) == ("paused", "refusal", MISFIT)
    assert [note.message for note in world.told("rollout_paused")] == [MISFIT]
    assert world.weight() == 10.0
    world.apply(operations.resumed)
    wait(world, 60)
    assert len(world.told("rollout_paused")) == 2
    world.refusal = ""
    world.apply(operations.resumed)
    drive(world, over(world))
    assert world.state().phase == "promoted"


def test_an_abortion_that_is_refused_is_told_once_and_made_as_soon_as_it_is_not(
    world: World,
) -> None:
    world.arms[2].failing = 0.2
    world.begin(hold="1h", analysis=analysis(failure_limit=0))
    world.refusal = MISFIT
    wait(world, 60)
    assert (world.state().paused_by, world.state().reason) == ("refusal", MISFIT)
    assert len(world.told("rollout_paused")) == 1
    world.refusal = ""
    drive(world, over(world))
    assert (world.state().phase, world.weight()) == ("aborted", 0.0)


@pytest.mark.parametrize("by", ["user", "step", "gate", "approval"])
def test_an_abortion_that_is_refused_in_a_pause_is_told_in_place_of_the_pause(
    world: World, by: str
) -> None:
    """Who resumes the rollout, or would approve of it, learns that its candidate should be gone."""
    world.begin(hold="1h", analysis=analysis(failure_limit=0))
    world.apply(operations.paused, by, "first")
    world.arms[2].failing = 0.2
    world.refusal = MISFIT
    wait(world, 60)
    assert (world.state().paused_by, world.state().reason) == ("refusal", MISFIT)
    assert [note.message for note in world.told("rollout_paused")] == [MISFIT]
    world.apply(operations.resumed)
    wait(world, 60)
    assert len(world.told("rollout_paused")) == 2
    world.refusal = ""
    drive(world, over(world))
    assert (world.state().phase, world.weight()) == ("aborted", 0.0)


def test_a_rollout_that_is_aborted_once_its_move_is_refused_is_no_failure(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    change = world.change

    async def refuse(graph: str, operation: Operation) -> Stored:
        try:
            return await change(graph, operation)
        except Conflict:
            if world.state().active:
                world.apply(operations.aborted)
            raise

    world.change = refuse  # type: ignore[method-assign]
    world.begin(steps=[10], hold="10s")
    world.refusal = MISFIT
    wait(world, 20)
    assert world.state().phase == "aborted"
    assert not caplog.records


def test_what_was_overtaken_pauses_nothing(world: World) -> None:
    """Somebody aborts the rollout while its gate is asked."""
    asked: list[str] = []

    async def slowly(url: str, request: Any) -> OutgoingReply:
        asked.append(url)
        if len(asked) == 1:
            world.apply(operations.aborted)
        return OutgoingReply(200, b"")

    world.reply = slowly
    world.begin(steps=[10], hold="10s", gate=GATE)
    drive(world, over(world))
    wait(world, 20)
    assert (world.state().phase, len(asked)) == ("aborted", 1)
    assert world.told("rollout_paused", "rollout_promoted") == []
