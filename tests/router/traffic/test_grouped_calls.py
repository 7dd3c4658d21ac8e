from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from anabranch.router.traffic.grouped_calls import Grouped


class Work:
    """Doubles numbers; holds until it is let go, and fails for a group with a negative one."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        self.begun.set()
        await self.go.wait()
        if min(items) < 0:
            raise ValueError("negative")
        return [2 * item for item in items]


def test_what_comes_meanwhile_goes_together() -> None:
    async def main() -> None:
        work = Work()
        grouped = Grouped(work, most=3)
        calls = [asyncio.create_task(grouped(number)) for number in range(6)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = asyncio.create_task(grouped(6))
        work.go.set()
        assert await asyncio.gather(*calls, late) == [0, 2, 4, 6, 8, 10, 12]
        assert [len(group) for group in work.groups] == [3, 3, 1]
        assert await grouped(7) == 14

    asyncio.run(main())


def test_an_error_is_that_of_its_group_alone() -> None:
    async def main() -> None:
        work = Work()
        work.go.set()
        grouped = Grouped(work, most=2)
        found = await asyncio.gather(*map(grouped, (1, -1, 3)), return_exceptions=True)
        assert [type(one) for one in found] == [ValueError, ValueError, int]

    asyncio.run(main())


def test_too_few_results_are_an_error() -> None:
    async def short(items: Sequence[int]) -> list[int]:
        return []

    async def main() -> None:
        with pytest.raises(ValueError, match="zip"):
            await Grouped(short)(1)

    asyncio.run(main())


def test_who_has_gone_is_left_out() -> None:
    async def main() -> None:
        work = Work()
        grouped = Grouped(work)
        first = asyncio.create_task(grouped(1))
        await work.begun.wait()
        gone, stays = asyncio.create_task(grouped(2)), asyncio.create_task(grouped(3))
        await asyncio.sleep(0)
        gone.cancel()
        first.cancel()
        await asyncio.gather(first, gone, return_exceptions=True)
        work.go.set()
        assert await stays == 6
        assert work.groups == [[1], [3]]

    asyncio.run(main())
