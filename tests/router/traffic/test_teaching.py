from __future__ import annotations

import asyncio
from typing import Any

import pytest

from anabranch.components.contract import NodeFeedback
from anabranch.errors import Unavailable
from anabranch.router.traffic.teaching import MAX_UNDER_WAY, Teaching

GIVEN = NodeFeedback("7", 1.0)


def test_nobody_waits_and_too_many_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> tuple[int, int]:
        teaching, begun, gate = Teaching(), 0, asyncio.Event()

        async def feedback(given: NodeFeedback) -> bool:
            nonlocal begun
            begun += 1
            await gate.wait()
            return True

        for _ in range(MAX_UNDER_WAY + 3):
            teaching.send(feedback, GIVEN)
        assert begun == 0
        await asyncio.sleep(0)
        first = begun
        gate.set()
        await asyncio.wait(teaching._tasks)
        teaching.send(feedback, GIVEN)
        await asyncio.sleep(0)
        await teaching.close()
        return first, begun

    assert asyncio.run(main()) == (MAX_UNDER_WAY, MAX_UNDER_WAY + 1)
    assert caplog.text.count("components have missed") == 1


def test_what_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def feedback(given: NodeFeedback) -> bool:
        raise Unavailable("no replica")

    async def main() -> None:
        teaching = Teaching()
        teaching.send(feedback, GIVEN)
        await asyncio.wait(teaching._tasks)

    asyncio.run(main())
    assert "components do not get the reward for 7: Unavailable('no replica')" in caplog.text


def test_the_rest_is_cancelled_at_the_end() -> None:
    ended: list[Any] = []

    async def feedback(given: NodeFeedback) -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(given)
        return True

    async def main() -> None:
        teaching = Teaching()
        teaching.send(feedback, GIVEN)
        await asyncio.sleep(0)
        await teaching.close()

    asyncio.run(main())
    assert ended == [GIVEN]
