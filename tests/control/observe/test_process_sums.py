"""The sums of processes that come and go, as one."""

from __future__ import annotations

from typing import Any

from anabranch.control.observe.process_sums import KEEP_S, SILENCE_S, ProcessSums
from anabranch.telemetry.definitions import (
    ARM_LATENCY,
    ARM_REQUESTS,
    ARM_REWARD_SUM,
    ARM_WEIGHT,
    REQUESTS_IN_FLIGHT,
)
from anabranch.telemetry.registry import Registry
from tests.clock import Clock

ARM = ("digits", "3")


class Process:
    """A process that counts, and what it says of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.registry = Registry()
        self.told: Any = {}

    def count(self, requests: int) -> None:
        self.registry.number(ARM_REQUESTS, *ARM).value += requests
        self.registry.number(REQUESTS_IN_FLIGHT, "digits").value = 2
        self.registry.number(ARM_WEIGHT, *ARM).value = 0.5
        for _ in range(requests):
            self.registry.distribution(ARM_LATENCY, *ARM).observe(0.2)

    def tell(self, sums: ProcessSums, is_last: bool = False) -> None:
        snapshot = self.registry.snapshot()
        if not sums.take(self.name, snapshot, None, is_last):
            assert sums.take(self.name, snapshot, self.told, is_last)
        self.told = snapshot


def requests(sums: ProcessSums) -> Any:
    return sums.totals()[ARM_REQUESTS.name][ARM]


def test_processes_add_up() -> None:
    sums = ProcessSums()
    for name, count in (("a", 2), ("b", 3)):
        process = Process(name)
        process.count(count)
        process.tell(sums)
    totals = sums.totals()
    assert requests(sums) == 5
    assert totals[ARM_LATENCY.name][ARM].number == 5  # type: ignore[union-attr]
    assert totals[REQUESTS_IN_FLIGHT.name][("digits",)] == 4
    assert totals[ARM_WEIGHT.name][ARM] == 0.5


def test_what_is_told_again_does_not_count_again() -> None:
    sums, process = ProcessSums(), Process("a")
    process.count(2)
    process.tell(sums)
    process.tell(sums)
    process.count(1)
    process.tell(sums)
    assert requests(sums) == 3


def test_only_what_has_changed_need_be_told() -> None:
    sums, process = ProcessSums(), Process("a")
    process.count(2)
    process.tell(sums)
    process.count(3)
    changed = {ARM_REQUESTS.name: process.registry.snapshot()[ARM_REQUESTS.name]}
    assert sums.take("a", changed)
    assert requests(sums) == 5
    assert sums.totals()[ARM_LATENCY.name][ARM].number == 2  # type: ignore[union-attr]


def test_an_unknown_process_has_to_tell_all() -> None:
    sums = ProcessSums()
    assert not sums.take("a", {ARM_REQUESTS.name: {ARM: 7.0}})
    assert sums.totals() == {}


def test_sums_outlive_their_process_and_gauges_do_not() -> None:
    sums, process = ProcessSums(), Process("a")
    process.count(4)
    process.registry.number(ARM_REWARD_SUM, *ARM).value = -2.5
    process.tell(sums, is_last=True)
    totals = sums.totals()
    assert requests(sums) == 4
    assert totals[ARM_LATENCY.name][ARM].number == 4  # type: ignore[union-attr]
    assert totals[ARM_REWARD_SUM.name] == {ARM: -2.5}
    assert not totals.get(REQUESTS_IN_FLIGHT.name) and not totals.get(ARM_WEIGHT.name)


def test_a_process_that_is_silent_has_ended_and_may_come_back() -> None:
    clock = Clock()
    sums, process = ProcessSums(clock), Process("a")
    process.count(4)
    process.tell(sums)
    clock.now += SILENCE_S
    assert requests(sums) == 4
    assert not sums.totals().get(REQUESTS_IN_FLIGHT.name)
    process.count(1)
    process.tell(sums)
    assert requests(sums) == 5
    assert sums.totals()[REQUESTS_IN_FLIGHT.name][("digits",)] == 2


def test_a_new_controller_counts_only_what_the_one_before_was_not_told() -> None:
    process = Process("a")
    process.count(100)
    process.tell(ProcessSums())
    process.count(3)
    sums = ProcessSums()
    process.tell(sums)
    assert requests(sums) == 3
    assert sums.totals()[ARM_LATENCY.name][ARM].number == 3  # type: ignore[union-attr]
    assert sums.totals()[REQUESTS_IN_FLIGHT.name][("digits",)] == 2
    process.count(2)
    process.tell(sums, is_last=True)
    assert requests(sums) == 5


def test_sums_that_began_anew_count_whole() -> None:
    sums = ProcessSums()
    assert sums.take("a", {ARM_REQUESTS.name: {ARM: 4.0}}, {ARM_REQUESTS.name: {ARM: 9.0}})
    assert requests(sums) == 4


def test_what_nobody_counts_any_more_is_dropped_after_a_while() -> None:
    clock = Clock()
    sums, gone, stays = ProcessSums(clock), Process("a"), Process("b")
    gone.count(4)
    gone.registry.number(ARM_REQUESTS, "spam", "1").value = 1
    gone.tell(sums, is_last=True)
    stays.count(1)
    for _ in range(int(KEEP_S)):
        clock.now += 1
        stays.tell(sums)
    assert sums.totals()[ARM_REQUESTS.name] == {ARM: 5}
