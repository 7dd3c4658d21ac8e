"""The shared models of a process: each is opened once, and waits for itself alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import msgspec
import pytest

from anabranch.components.contract import NodeFeedback
from anabranch.errors import RequestError, Unavailable
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.decisions import Decision
from anabranch.router.traffic.feedback import Feedback, RewardEntry, RewardOutcome
from anabranch.serve.shared import shared_model
from anabranch.serve.shared.shared_model import OpenModels, SharedModel
from tests.router.conftest import StepHead, double, make_signature, make_table


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


class Recalling:
    """A controller that remembers one decision, which no router of this process has made."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    async def recall(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        known = msgspec.msgpack.encode(self.decision)
        return [known if id == self.decision.id else None for id in ids]

    async def reward(
        self, entries: Sequence[RewardEntry]
    ) -> Sequence[RewardOutcome | RequestError]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("weights", "answered"),
    [
        ({3: 100.0}, {"here": 4, "there": 4, "before": 3}),
        ({3: 50.0, 4: 50.0}, {"here": 4, "there": 4}),
    ],
)
def test_a_reward_goes_to_the_revision_that_has_answered(
    monkeypatch: pytest.MonkeyPatch, weights: dict[int, float], answered: dict[str, int]
) -> None:
    async def told() -> dict[str, list[str]]:
        heads = {number: StepHead(double) for number in (3, 4)}
        model = SharedModel("fraud")
        model._arms = Arms("fraud", heads.__getitem__, RequestLimits())
        model._arms.apply(make_table(weights, revisions=dict.fromkeys(heads, make_signature())))
        model._arms.made.add(Decision("here", 4, {}), ())
        model._rewards = Feedback(model._arms, Recalling(Decision("there", 4, {})))
        monkeypatch.setattr(model, "head", heads.__getitem__)
        for id in answered:
            await model.feedback(NodeFeedback(id, 1.0), None)
        await model.feedback(NodeFeedback("held", 1.0), 3)
        return {str(number): [one.id for one in head.rewards] for number, head in heads.items()}

    expected: dict[str, list[str]] = {"3": [], "4": []}
    for id, number in answered.items():
        expected[str(number)].append(id)
    expected["3"].append("held")
    assert asyncio.run(told()) == expected


def test_a_reward_does_not_wait_for_a_controller_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Away(Recalling):
        async def recall(self, ids: Sequence[str]) -> Sequence[bytes | None]:
            raise Unavailable("the controller is away")

    monkeypatch.setattr(shared_model, "PATIENCE_S", 0.01)

    async def main() -> None:
        model = SharedModel("fraud")
        model._arms = Arms("fraud", {3: StepHead(double)}.__getitem__, RequestLimits())
        model._arms.apply(make_table({3: 100.0}, revisions={3: make_signature()}))
        model._rewards = Feedback(model._arms, Away(Decision("there", 3, {})))
        with pytest.raises(Unavailable, match="nobody can say now what shared model 'fraud' did"):
            await model.feedback(NodeFeedback("there", 1.0), None)

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
