from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Moment
from anabranch.control.store import database as databases
from anabranch.control.store import lease as leases
from anabranch.control.store.lease import Lease, is_gone, name_of_holder
from anabranch.control.store.store import Store
from anabranch.errors import EngineError, LeaseLost, Unavailable
from tests.clock import Clock

MOMENT = Moment(1000.0, 600.0)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def other(url: str, store: Store) -> Iterator[Store]:
    """The same store as another controller opens it."""
    opened = Store.open(url)
    yield opened
    opened.close()


def test_the_first_one_gets_it_and_the_second_does_not(store: Store, other: Store) -> None:
    first, second = Lease(store, "a"), Lease(other, "b")
    assert first.try_acquire() and first.held
    assert not second.try_acquire() and not second.held
    assert first.try_acquire()


def test_a_silent_holder_is_taken_over_after_its_time(
    store: Store, other: Store, clock: Clock
) -> None:
    first, second = Lease(store, "a", clock=clock), Lease(other, "b", clock=clock)
    assert first.try_acquire()
    assert not second.try_acquire()
    clock.now += 2.9
    assert not second.try_acquire()
    clock.now += 0.2
    assert not first.held
    assert second.try_acquire() and second.held
    assert not first.renew() and not first.held
    assert not first.try_acquire()


def test_a_holder_that_renews_is_never_taken_over(store: Store, other: Store, clock: Clock) -> None:
    first, second = Lease(store, "a", clock=clock), Lease(other, "b", clock=clock)
    assert first.try_acquire()
    for _ in range(20):
        clock.now += 2.0
        assert first.renew() and first.held
        assert not second.try_acquire()


def test_the_time_counts_from_when_the_contender_saw_the_beat(
    store: Store, other: Store, clock: Clock
) -> None:
    first, second = Lease(store, "a", clock=clock), Lease(other, "b", clock=clock)
    assert first.try_acquire()
    clock.now += 1000.0
    assert not second.try_acquire()  # it may just have renewed
    clock.now += 3.0
    assert second.try_acquire()


def test_a_holder_changing_in_between_counts_anew(
    url: str, store: Store, other: Store, clock: Clock
) -> None:
    third = Store.open(url)
    one, two = Lease(store, "a", clock=clock), Lease(other, "b", clock=clock)
    late = Lease(third, "c", clock=clock)
    assert one.try_acquire() and not late.try_acquire()
    one.release()
    assert two.try_acquire()
    clock.now += 3.0
    assert not late.try_acquire()
    third.close()


def test_a_released_lease_is_free_at_once(store: Store, other: Store) -> None:
    first, second = Lease(store, "a"), Lease(other, "b")
    assert first.acquire(0)
    second.release()  # not its own
    assert not second.acquire(0)
    first.release()
    assert not first.held and not first.renew()
    assert second.acquire(0)


def test_acquire_waits_for_the_holder_to_let_go(store: Store, other: Store) -> None:
    first, second = Lease(store, "a"), Lease(other, "b", ttl=1e9)
    assert first.acquire(0)
    releasing = threading.Timer(0.05, first.release)
    releasing.start()
    assert second.acquire(30)
    releasing.join()


def test_acquire_outlasts_a_database_that_does_not_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, tries = Lease(store, "a"), iter([Unavailable("down"), Unavailable("down"), True])

    def try_acquire() -> bool:
        found = next(tries)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(lease, "try_acquire", try_acquire)
    monkeypatch.setattr(leases, "_PAUSE", 0.0)
    assert lease.acquire(30)


def test_held_ends_before_anyone_can_take_over(store: Store, clock: Clock) -> None:
    """The holder counts from before its write, a contender from after it saw it."""
    lease = Lease(store, "a", clock=clock)
    assert lease.try_acquire()
    clock.now += 2.99
    assert lease.held
    clock.now += 0.02
    assert not lease.held


# The fence


def test_nothing_is_written_before_the_lease_is_held(store: Store) -> None:
    lease = Lease(store)
    with pytest.raises(LeaseLost):
        store.ensure_revision("digits", "spec", "d")
    assert store.situations() == []
    assert lease.try_acquire()
    store.ensure_revision("digits", "spec", "d", force=True)


def test_a_store_without_a_fence_needs_no_lease(store: Store, other: Store) -> None:
    assert Lease(store, "a").try_acquire()
    other.ensure_revision("digits", "spec", "d", force=True)


def test_a_paused_holder_writes_nothing_after_the_takeover(
    store: Store, other: Store, clock: Clock
) -> None:
    paused, active = Lease(store, "a", clock=clock), Lease(other, "b", clock=clock)
    assert paused.try_acquire() and not active.try_acquire()
    store.ensure_revision("digits", "spec", "d", force=True)
    before = store.situation("digits"), store.events()
    clock.now += 4.0
    assert active.try_acquire()
    writes = (
        partial(store.change, "digits", lambda now: operations.started(now, MOMENT, 1)),
        partial(store.ensure_revision, "digits", "spec", "d"),
        partial(store.log, "digits", 1, "note", "text"),
        partial(store.outbox.strike, 1),
        partial(store.outbox.postponed, 1, 0.0),
    )
    for write in writes:
        with pytest.raises(LeaseLost, match="another controller holds the store"):
            write()
    assert (store.situation("digits"), store.events()) == before
    other.ensure_revision("digits", "spec", "d", force=True)
    assert paused.renew() is False
    active.release()
    assert paused.try_acquire()
    store.ensure_revision("digits", "spec", "d", force=True)


def test_losing_the_lease_is_an_engine_error_that_may_be_retried() -> None:
    assert issubclass(LeaseLost, EngineError) and issubclass(LeaseLost, Unavailable)


def test_no_takeover_while_the_holder_is_in_the_middle_of_a_write(
    store: Store, other: Store, clock: Clock
) -> None:
    """The takeover waits for the transaction, so that the new holder sees what it wrote."""
    first, second = Lease(store, "a", clock=clock), Lease(other, "b", clock=clock)
    assert first.try_acquire() and not second.try_acquire()
    clock.now += 4.0
    inside, goes_on, order = threading.Event(), threading.Event(), []

    def slow(now: operations.Situation) -> operations.Change:
        inside.set()
        goes_on.wait(30)
        order.append("written")
        return operations.started(now, MOMENT, 1)

    store.ensure_revision("digits", "spec", "d", force=True)
    writer = threading.Thread(target=store.change, args=("digits", slow))
    writer.start()
    assert inside.wait(30)

    def take_over() -> None:
        assert second.try_acquire()
        order.append("taken over")

    taker = threading.Thread(target=take_over)
    taker.start()
    taker.join(0.1)
    goes_on.set()
    writer.join(30), taker.join(30)
    assert order == ["written", "taken over"]
    assert other.situation("digits").situation.members[1].state == "deploying"


def _contend(url: str, holder: str, rounds: int) -> None:
    """Take turns: with the lease, write who holds it twice; nobody may come between."""
    store = Store.open(url)
    for _ in range(rounds):
        lease = Lease(store, holder)
        assert lease.acquire(60)
        for text in ("in", "out"):
            store.log("digits", None, text, holder)
        lease.release()
    store.close()


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


def _started(target: object, *args: object) -> multiprocessing.process.BaseProcess:
    process = _forks.Process(target=target, args=args)  # type: ignore[arg-type]
    process.start()
    return process


def _pairs(store: Store) -> list[tuple[str, str]]:
    return [(event.kind, event.message) for event in store.events(limit=10_000)]


def test_processes_hammering_it_never_act_at_once(url: str, store: Store, tmp_path: Path) -> None:
    processes = [_started(_contend, url, name, 5) for name in ("a", "b")]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    _check_turns(_pairs(store), 10)


def test_threads_hammering_it_never_act_at_once(url: str, store: Store, tmp_path: Path) -> None:
    threads = [threading.Thread(target=_contend, args=(url, name, 5)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    _check_turns(_pairs(store), 20)


def _check_turns(events: list[tuple[str, str]], turns: int) -> None:
    assert len(events) == 2 * turns
    for (came, first), (went, second) in zip(events[::2], events[1::2], strict=True):
        assert (came, went, first) == ("in", "out", second)


def test_one_of_many_takes_over_from_a_silent_holder(url: str, store: Store, clock: Clock) -> None:
    assert Lease(store, "silent").try_acquire()
    stores = [Store.open(url) for _ in range(4)]
    contenders = [Lease(own, f"c{n}", clock=clock) for n, own in enumerate(stores)]
    assert not any(one.try_acquire() for one in contenders)
    clock.now += 4.0
    start, won = threading.Barrier(4), []

    def contend(lease: Lease) -> None:
        start.wait(30)
        if lease.try_acquire():
            won.append(lease)

    threads = [threading.Thread(target=contend, args=(one,)) for one in contenders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    assert [one.renew() for one in contenders] == [one is won[0] for one in contenders]
    for own in stores:
        own.close()


# Holders that are gone


@LINUX
def test_this_process_is_not_gone() -> None:
    assert not is_gone(name_of_holder())
    assert name_of_holder() != name_of_holder()


@LINUX
def test_a_process_that_its_parent_has_not_waited_for_is_gone() -> None:
    child = subprocess.Popen(["sleep", "60"])
    boot, namespace, _, _ = name_of_holder().split(" ")[0].split("/")
    start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    name = f"{boot}/{namespace}/{child.pid}/{start} x"
    assert not is_gone(name)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(name)
    child.wait()


@LINUX
@pytest.mark.parametrize(
    ("part", "value", "gone"),
    [
        (0, "another-boot", False),
        (1, "pid:[1]", False),
        (2, "999999999", True),
        (2, "0", False),
        (2, "-1", False),
        (2, "x", False),
        (2, "99999999999999999999", False),
        (3, "1", True),
    ],
)
def test_only_a_process_of_this_machine_is_known_to_be_gone(
    part: int, value: str, gone: bool
) -> None:
    parts = name_of_holder().split(" ")[0].split("/")
    parts[part] = value
    assert is_gone("/".join(parts) + " x") is gone


@pytest.mark.parametrize("holder", ["", "a", "unknown 123", "a/b/c", "a/b/c/d/e", "///", "\0"])
def test_a_name_that_says_nothing_is_not_gone(holder: str) -> None:
    assert not is_gone(holder)


def test_without_proc_nobody_is_known_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = name_of_holder()
    monkeypatch.setattr(leases, "_this_process", lambda: None)
    assert not is_gone(holder.replace(str(os.getpid()), "999999999"))
    assert name_of_holder().startswith("unknown ")


@LINUX
def test_a_process_that_cannot_be_looked_at_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = name_of_holder()

    def refused(pid: int, sig: int) -> None:
        raise PermissionError

    def unreadable(pid: int) -> str:
        if pid == 1:
            raise PermissionError
        return "5"

    parts = holder.split(" ")[0].split("/")
    monkeypatch.setattr(leases, "_start_of", unreadable)
    monkeypatch.setattr(os, "kill", refused)
    parts[2] = "1"
    assert not is_gone("/".join(parts))


def _hold(url: str, held: str) -> None:
    store = Store.open(url)
    assert Lease(store).try_acquire()
    store.ensure_revision("digits", "spec", "d", force=True)
    Path(held).touch()
    time.sleep(600)


@LINUX
def test_a_killed_holder_is_taken_over_at_once(url: str, store: Store, tmp_path: Path) -> None:
    held = tmp_path / "held"
    process = _started(_hold, url, str(held))
    try:
        while not held.exists():
            assert process.exitcode is None
            time.sleep(0.02)
        lease = Lease(store, ttl=1e9)
        assert not lease.try_acquire()
    finally:
        process.kill()
        process.join(60)
    assert lease.acquire(30)
    store.ensure_revision("digits", "spec", "d", force=True)


def _freeze_in_a_write(url: str) -> None:
    databases.STALL_TIMEOUT = 1.0
    store = Store.open(url)
    assert Lease(store, "frozen").try_acquire()
    store.ensure_revision("digits", "spec", "d", force=True)

    def freeze(now: operations.Situation) -> operations.Change:
        os.kill(os.getpid(), signal.SIGSTOP)
        return operations.started(now, MOMENT, 1)

    try:
        store.change("digits", freeze)
    except Unavailable:
        sys.exit(7)


@LINUX
def test_a_holder_frozen_in_the_middle_of_a_write_does_not_keep_the_lease(
    url: str, store: Store
) -> None:
    """PostgreSQL ends the transaction; SQLite's file lock can only be waited for."""
    if url.startswith("sqlite"):
        pytest.skip("a frozen process keeps SQLite's lock until it goes on or dies")
    process = _started(_freeze_in_a_write, url)
    try:
        assert process.pid is not None
        while _state(process.pid) != "T":
            assert process.exitcode is None
            time.sleep(0.02)
        lease = Lease(store, "next", ttl=0.1)
        assert lease.acquire(60)
        assert store.situation("digits").situation.members[1].state == "pending"
        store.ensure_revision("digits", "spec", "d", force=True)
        os.kill(process.pid, signal.SIGCONT)
        process.join(60)
        assert process.exitcode == 7
    finally:
        process.kill()
        process.join(60)
    assert store.situation("digits").situation.members[2].state == "pending"


def _state(pid: int) -> str:
    out = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True)
    return out.stdout.strip()[:1]
