"""The controller without an engine: it has nothing to reconcile with, and all the rest works."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from anabranch.access.identity import TOKEN, Asker
from anabranch.control import parts as parts_module
from anabranch.control.controller import Controller
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Intent, Moment
from anabranch.control.reconcile import serving
from anabranch.control.release.bundles import BundleStore
from anabranch.control.settings.settings import Settings
from anabranch.control.store.lease import Lease
from anabranch.control.store.store import Store
from anabranch.errors import EngineError, NotFound, Unavailable
from anabranch.router.measure.tally import Report, Tally
from anabranch.router.traffic.decisions import Decision
from anabranch.router.traffic.feedback import TOO_EARLY, RewardEntry
from anabranch.specs.models import Rollout
from anabranch.telemetry.definitions import BUNDLE_BYTES_SENT
from anabranch.telemetry.registry import REGISTRY
from tests.control.control_api import SPEC
from tests.waiting import eventually

GRAPHS = ("GET", "/graphs", "", b"", Asker(TOKEN))


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve would be started where it is asked."""
    monkeypatch.setattr(serving, "details", dict)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"ANABRANCH_HOME": str(tmp_path)})


async def controller(settings: Settings) -> Controller:
    one = Controller.__new__(Controller)
    await one.__init__(settings)  # type: ignore[misc]
    return one


async def stop(one: Controller) -> None:
    one._running.cancel()
    await asyncio.gather(one._running, return_exceptions=True)


async def answers(one: Controller) -> bool:
    return (await one.handle(*GRAPHS))[0] == 200


def test_it_answers_once_the_lease_is_its_own(settings: Settings) -> None:
    async def scenario() -> None:
        holder = Store.open(settings.store)
        lease = Lease(holder, ttl=600)
        assert lease.try_acquire()
        holder.ensure_revision("digits", SPEC.replace("NAME", "digits"), "d")
        one = await controller(settings)
        poll = asyncio.ensure_future(one.table("digits", "router", 0))

        async def waits() -> bool:
            status, headers, body = await one.handle(*GRAPHS)
            assert (status, dict(headers)[b"content-type"]) == (503, b"application/json")
            assert b"retry-after" in dict(headers)
            return "another controller holds the lease" in orjson.loads(body)["error"]

        await eventually(waits)
        with pytest.raises(Unavailable, match="holds the lease"):
            await one.states()
        with pytest.raises(EngineError, match="holds the lease"):
            await one.settle(0)
        assert not poll.done()
        lease.release()
        table = await poll
        assert table is not None
        assert table.weights == {1: 100.0}
        await eventually(lambda: answers(one))
        # Its bundle is missing, so it may have failed by now; what counts is the answer.
        assert set(await one.states()) <= {"digits"}
        await stop(one)
        holder.close()

    asyncio.run(scenario())


def test_it_ends_when_another_has_taken_over(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    def end(code: int) -> None:
        assert code == 1
        ended.set()
        raise SystemError("a process that has ended goes no further")

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(parts_module, "_RENEWAL_S", 0.01)

    async def scenario() -> None:
        one = await controller(settings)
        await eventually(lambda: answers(one))
        thief = Store.open(settings.store)
        rival = Lease(thief, "thief", ttl=0)

        await eventually(rival.try_acquire)  # a beat that was seen is too old at once
        await ended.wait()
        await stop(one)
        thief.close()

    asyncio.run(scenario())


def test_a_store_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {"ANABRANCH_HOME": str(tmp_path), "ANABRANCH_STORE": "oracle://nowhere"}
    )

    async def scenario() -> None:
        one = await controller(settings)
        with pytest.raises(EngineError, match="cannot open the store"):
            await one.settle(60)
        assert (await one.handle(*GRAPHS))[0] == 503
        await stop(one)

    asyncio.run(scenario())


def test_a_store_that_goes_away_at_the_start_is_not_opened_twice(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts have a lease of their own, and would have to wait for that of those before."""
    opened: list[str] = []
    publish, tries = parts_module.ControllerParts.publish, iter([True, False])

    async def away(control: parts_module.ControllerParts) -> None:
        opened.append(control._lease.holder)
        if next(tries):
            raise Unavailable("the store does not answer")
        await publish(control)

    monkeypatch.setattr(parts_module.ControllerParts, "publish", away)

    async def scenario() -> None:
        one = await controller(settings)
        await eventually(lambda: answers(one))
        await stop(one)

    asyncio.run(scenario())
    assert len(opened) == 2 and len(set(opened)) == 1


def test_reports_are_taken_before_the_store_is_open(settings: Settings) -> None:
    async def scenario() -> Any:
        one = await controller(settings)
        await one.report("digits", "router", Report({1: Tally(requests=2)}))
        found = one._totals.totals("digits").arm(1).requests
        await stop(one)
        return found

    assert asyncio.run(scenario()) == 2


def test_rewards_and_decisions_wait_for_the_store(settings: Settings) -> None:
    one_reward = RewardEntry(Decision("a", 1, {}), 1.0, "token")

    async def scenario() -> None:
        holder = Store.open(settings.store)
        lease = Lease(holder, ttl=600)
        assert lease.try_acquire()
        one = await controller(settings)
        for call in (
            one.remember("digits", "router", [("a", b"")]),
            one.recall("digits", "router", ["a"]),
            one.reward("digits", "router", [one_reward]),
        ):
            with pytest.raises(Unavailable):
                await call
        lease.release()
        await eventually(lambda: answers(one))
        await one.remember("digits", "router", [("a", b"packed")])
        assert await one.recall("digits", "other router", ["a", "b"]) == [b"packed", TOO_EARLY]
        (refused,) = await one.reward("digits", "router", [one_reward])
        assert isinstance(refused, NotFound)
        await stop(one)
        holder.close()

    asyncio.run(scenario())


def test_a_clock_that_was_put_back_makes_no_step_wait(settings: Settings) -> None:
    plan = Rollout.model_validate({"steps": [10, 50], "hold": "2m"})
    ahead = Moment(time.time() + 7200, 600)
    store = Store.open(settings.store)
    for number, intent in ((1, Intent()), (2, Intent("rollout", rollout=plan))):
        store.ensure_revision(
            "digits", SPEC.replace("NAME", "digits"), "d", intent=intent, force=True
        )
        store.change("digits", partial(operations.arrived, moment=ahead, number=number))

    async def scenario() -> None:
        one = await controller(settings)
        await eventually(lambda: answers(one))
        await stop(one)

    asyncio.run(scenario())
    rollout = store.situation("digits").situation.rollout
    assert rollout is not None and rollout.since <= time.time()
    assert "clock_put_back" in {event.kind for event in store.events("digits")}
    store.close()


def test_bundles_are_sent_in_parts_and_counted_whoever_has_the_lease(settings: Settings) -> None:
    bundles = BundleStore(settings.bundles)
    name = bundles.put({"graph.yaml": b"x"})
    whole, sent = bundles.path(name).read_bytes(), REGISTRY.number(BUNDLE_BYTES_SENT)

    async def main() -> None:
        one, before = await controller(settings), sent.value
        assert await one.bundle(name, 10, 20) == (len(whole), whole[10:30])
        assert await one.bundle(name, 0, 0) == (len(whole), b"")
        assert sent.value - before == 20
        with pytest.raises(NotFound, match="is not in"):
            await one.bundle("0" * 64, 0, 20)
        await stop(one)

    asyncio.run(main())
