"""A follower takes each version once, whatever fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from anabranch.errors import Unavailable
from anabranch.router.following import Follower
from tests.router.conftest import Run


class Value(NamedTuple):
    version: int


class Controller:
    """Answers polls by a script, and then waits for ever; ``take`` refuses each of ``bad`` once."""

    def __init__(self, *answers: Value | Exception | None, bad: Sequence[int] = ()) -> None:
        self._answers, self._bad = list(answers), list(bad)
        self.held: list[int] = []
        self.taken: list[int] = []
        self.over = asyncio.Event()
        self.follower = Follower("value", self.poll, self.take)

    async def poll(self, held: int) -> Value | None:
        self.held.append(held)
        if not self._answers:
            self.over.set()
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def take(self, value: Value) -> None:
        if value.version in self._bad:
            self._bad.remove(value.version)
            raise ValueError("a bug")
        self.taken.append(value.version)


def test_it_begins_with_a_version_and_goes_on(timeless: Run) -> None:
    async def main() -> Controller:
        one = Controller(Unavailable("away"), None, Value(3), Value(3), Value(4))
        await one.follower.begin()
        assert one.taken == [3]
        await one.over.wait()
        await one.follower.close()
        return one

    one = timeless(main())
    assert one.taken == [3, 4]
    assert one.held == [0, 0, 0, 3, 3, 4]


def test_what_fails_is_tried_again_and_acknowledged_only_then(timeless: Run) -> None:
    async def main() -> Controller:
        one = Controller(Value(1), Unavailable("away"), Value(2), None, Value(2), bad=[2])
        one.follower.start()
        await one.over.wait()
        await one.follower.close()
        return one

    one = timeless(main())
    assert one.taken == [1, 2]
    assert one.held == [0, 1, 1, 1, 1, 2]
