"""Work of several threads that is done in one call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from anabranch.control.reconcile.together import Together
from tests.waiting import until


def test_what_comes_while_it_works_is_done_in_one_call() -> None:
    calls: list[list[int]] = []
    begun, go = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> None:
        calls.append(sorted(items))
        begun.set()
        assert go.wait(20)

    together = Together(work)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(together.do, 0)
        assert begun.wait(20)
        others = [pool.submit(together.do, number) for number in range(1, 8)]
        until(lambda: len(together._waiting) == 7)
        go.set()
        for one in (first, *others):
            one.result(20)
    assert calls == [[0], [1, 2, 3, 4, 5, 6, 7]]


def test_an_item_that_fails_fails_alone() -> None:
    begun, go = threading.Event(), threading.Event()
    done: set[int] = set()

    def work(items: Sequence[int]) -> None:
        begun.set()
        assert go.wait(20)
        if 3 in items:
            raise ValueError(f"{len(items)} items")
        done.update(items)

    together = Together(work)
    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(together.do, 0)]
        assert begun.wait(20)
        tasks += [pool.submit(together.do, number) for number in range(1, 6)]
        until(lambda: len(together._waiting) == 5)
        go.set()
        with pytest.raises(ValueError, match="1 items"):
            tasks[3].result(20)
        for one in (*tasks[:3], *tasks[4:]):
            one.result(20)
    assert done == {0, 1, 2, 4, 5}
