"""What a process has counted is told until it has arrived."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from anabranch.serve.export.exporter import REFRESH_S, Exporter, refresh_s
from anabranch.telemetry.definitions import ARM_REQUESTS, REQUESTS_IN_FLIGHT
from anabranch.telemetry.registry import Registry, Snapshot

ARM = ("digits", "3")


class Controller:
    """Takes sums as the controller does, and forgets its processes when it starts anew."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.told: list[tuple[Any, Any]] = []
        self.last: list[str] = []
        self.is_away = False

    def counted(self, process: str, sums: Snapshot, base: Snapshot | None, is_last: bool) -> bool:
        if self.is_away:
            raise ConnectionError("away")
        if process not in self.known and base is None:
            return False
        self.known.add(process)
        self.told.append((sums, base))
        self.last += [process] if is_last else []
        return True


class World:
    def __init__(self) -> None:
        self.controller = Controller()
        self.registry = Registry()
        self.requests = self.registry.number(ARM_REQUESTS, *ARM)
        self.now = 0.0
        self.shown: list[tuple[Any, bool]] = []
        self.exporter = Exporter(
            self.registry,
            lambda snapshot, again: self.shown.append((snapshot, again)),
            self.controller.counted,
            clock=lambda: self.now,
        )

    def told(self) -> list[tuple[Any, Any]]:
        """What has come at the controller since the last look."""
        found, self.controller.told = self.controller.told, []
        return found


def sums(requests: float) -> Any:
    return {ARM_REQUESTS.name: {ARM: requests}}


def test_a_process_tells_all_and_then_what_changes() -> None:
    world = World()
    in_flight = world.registry.number(REQUESTS_IN_FLIGHT, "digits")
    world.requests.value = 3
    world.exporter.flush()
    assert world.told() == [({**sums(3), REQUESTS_IN_FLIGHT.name: {("digits",): 0}}, {})]
    world.exporter.flush()
    assert world.told() == []
    world.requests.value = 4
    world.exporter.flush()
    in_flight.value = 1
    world.exporter.flush()
    assert world.told() == [(sums(4), None), ({REQUESTS_IN_FLIGHT.name: {("digits",): 1}}, None)]


def test_what_did_not_arrive_is_told_again() -> None:
    world = World()
    world.exporter.flush()
    world.told()
    world.controller.is_away = True
    world.requests.value = 5
    world.exporter.flush()
    world.controller.is_away = False
    world.exporter.flush()
    assert world.told() == [(sums(5), None)]


def test_a_new_controller_hears_what_the_one_before_was_told() -> None:
    world = World()
    world.requests.value = 5
    world.exporter.flush()
    world.told()
    world.controller.known.clear()
    world.requests.value = 7
    world.exporter.flush()
    assert world.told() == [(sums(7), sums(5))]


def test_where_nothing_changes_a_sign_of_life_is_given() -> None:
    world = World()
    world.exporter.flush()
    world.told()
    world.now += REFRESH_S
    world.exporter.flush()
    assert world.told() == [({}, None)]
    assert [again for _, again in world.shown] == [True, True]
    world.exporter.flush()
    assert [again for _, again in world.shown][-1] is False


def test_one_that_fails_does_not_keep_the_other_from_it() -> None:
    world = World()

    def fails(snapshot: Snapshot, again: bool) -> None:
        raise ValueError("no agent")

    exporter = Exporter(world.registry, fails, world.controller.counted)
    world.requests.value = 2
    exporter.flush()
    assert world.told() == [(sums(2), {})]


def test_the_thread_exports_a_last_time() -> None:
    world = World()
    shown = threading.Event()

    def show(snapshot: Snapshot, again: bool) -> None:
        shown.set()

    exporter = Exporter(world.registry, show, world.controller.counted, interval=0.01)
    exporter.start()
    assert shown.wait(30)
    world.requests.value = 9
    exporter.close()
    assert world.told()[-1][0] in (sums(9), {})
    assert len(world.controller.last) == 1


@pytest.mark.parametrize(
    "taken_ms, refresh",
    [(60_000, REFRESH_S), (10_000, REFRESH_S), (5_000, 3.0), (2_000, 0.0), (1_000, 0.0)],
)
def test_ray_is_shown_all_each_time_before_it_takes_it(
    monkeypatch: pytest.MonkeyPatch, taken_ms: int, refresh: float
) -> None:
    config = SimpleNamespace(metrics_report_interval_ms=lambda: taken_ms)
    monkeypatch.setattr(ray, "_config", config)
    assert refresh_s() == refresh
