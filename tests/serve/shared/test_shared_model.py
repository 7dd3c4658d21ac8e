"""The shared models of a process: each is opened once, and waits for itself alone."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from anabranch.errors import Unavailable
from anabranch.serve.shared import shared_model
from anabranch.serve.shared.shared_model import OpenModels, SharedModel


class Starting:
    """A model that starts once its gate is open."""

    def __init__(self, gate: asyncio.Event) -> None:
        self.gate = gate
        self.closed = 0

    async def start(self) -> None:
        await self.gate.wait()

    async def close(self) -> None:
        self.closed += 1


def test_a_model_that_does_not_start_holds_up_no_other() -> None:
    async def main() -> None:
        made = {"slow": Starting(asyncio.Event()), "fast": Starting(asyncio.Event())}
        made["fast"].gate.set()
        models = OpenModels(lambda name: cast(SharedModel, made[name]))
        slow = [asyncio.create_task(models.open("slow")) for _ in range(2)]
        async with asyncio.timeout(30):
            first, second = await models.open("fast"), await models.open("fast")
            assert first is second
            await models.close("fast")
            assert made["fast"].closed == 0
            await models.close("fast")
            assert made["fast"].closed == 1
            made["slow"].gate.set()
            one, other = await asyncio.gather(*slow)
        assert one is other

    asyncio.run(main())


@pytest.mark.parametrize("is_given_up", [True, False])
def test_a_model_that_did_not_start_is_followed_no_longer(
    monkeypatch: pytest.MonkeyPatch, is_given_up: bool
) -> None:
    async def main() -> None:
        model = SharedModel("fraud")
        asked, left = asyncio.Event(), 0

        async def hang() -> None:
            asked.set()
            await asyncio.Event().wait()

        async def end() -> None:
            nonlocal left
            left += 1

        monkeypatch.setattr(model._sync, "start", hang)
        monkeypatch.setattr(model._sync, "close", end)
        monkeypatch.setattr(model._source, "leave", end)
        monkeypatch.setattr(shared_model, "START_S", 30.0 if is_given_up else 0.05)
        starting = asyncio.create_task(model.start())
        await asked.wait()
        if is_given_up:
            starting.cancel()
        with pytest.raises(asyncio.CancelledError if is_given_up else Unavailable):
            await starting
        assert left == 2

    asyncio.run(main())
