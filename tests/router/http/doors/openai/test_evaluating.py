"""Canaries, stickiness, mirrors, counts and logs of requests over OpenAI's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import NodeError, TooManyRequests
from anabranch.router.http.doors.openai.evaluating import AT_ONCE, side_by_side
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.inference.contract import InferenceRequest
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.specs.models import Sticky, Traffic
from tests.router.conftest import Step, StepHead, make_table
from tests.router.http.doors.openai.graphs import COUNTED, MESSAGES, signature, spell, text
from tests.router.http.doors.openai.test_fields import ask
from tests.waiting import eventually

USER = [{"role": "user", "content": "one two three"}]


def speaker(name: str, tokens: int = 2) -> Step:
    async def speak(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {
            "text": text(name),
            "finish_reason": text("stop"),
            "prompt_tokens": np.array([5]),
            "completion_tokens": np.array([tokens]),
        }

    return speak


class Canary:
    """Two revisions: 1, which is stable, and 2."""

    def __init__(self, one: Step, other: Step, draws: Any = (), **table: Any) -> None:
        self.heads = {1: StepHead(one), 2: StepHead(other)}
        left = iter(draws)
        self.arms = Arms("demo", self.heads.__getitem__, RequestLimits(), lambda: next(left))
        revisions = dict.fromkeys((1, 2), signature(MESSAGES, COUNTED))
        weights = table.pop("weights", {1: 50, 2: 50})
        self.arms.apply(make_table(weights, revisions=revisions, **table))
        self.app = GraphApp(self.arms)

    async def chat(self, **fields: Any) -> Any:
        body = {"messages": USER, **fields}
        status, found = await ask(
            self.app, "/openai/demo/v1/chat/completions", json.dumps(body).encode()
        )
        if fields.get("stream"):
            assert status == 200
            *chunks, done = found.decode().strip().split("\n\n")
            assert done == "data: [DONE]"
            return [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
        return json.loads(found)

    async def said(self, **fields: Any) -> str:
        return str((await self.chat(**fields))["choices"][0]["message"]["content"])


def run(main: Callable[[], Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await main()

    return asyncio.run(bounded())


def test_weights_choose_the_revision() -> None:
    canary = Canary(speaker("old"), speaker("new"), [0.1, 0.9, 0.4])

    async def main() -> list[Any]:
        return [await canary.chat() for _ in range(3)]

    found = run(main)
    assert [one["choices"][0]["message"]["content"] for one in found] == ["old", "new", "old"]
    assert [one["system_fingerprint"] for one in found] == ["r1", "r2", "r1"]
    tallies = canary.arms.report().arms
    assert [tallies[number].requests for number in (1, 2)] == [2, 1]
    assert [tallies[number].tokens.completion for number in (1, 2)] == [4, 2]
    assert [tallies[number].tokens.prompt for number in (1, 2)] == [10, 5]


def test_a_canary_that_streams_answers_whole_requests_too() -> None:
    canary = Canary(speaker("old"), spell, [0.9, 0.1, 0.9])

    async def main() -> list[str]:
        chunks = [await canary.chat(stream=True)]
        streamed = "".join(one["choices"][0]["delta"].get("content", "") for one in chunks[0])
        return [streamed, await canary.said(), await canary.said()]

    assert run(main) == ["one two three", "old", "one two three"]
    tokens = canary.arms.report().arms[2].tokens
    assert (tokens.answers, tokens.completion, tokens.first.total) == (2, 26, 2)


def test_all_choices_of_a_request_come_from_one_revision() -> None:
    canary = Canary(speaker("old"), speaker("new"), [0.9, 0.1])

    async def main() -> list[Any]:
        return [await canary.chat(n=4), await canary.chat(n=4)]

    found = run(main)
    said = [{one["message"]["content"] for one in each["choices"]} for each in found]
    assert said == [{"new"}, {"old"}]
    assert [canary.arms.report().arms[number].requests for number in (1, 2)] == [4, 4]


def test_a_user_stays_on_a_revision() -> None:
    policy = Traffic(sticky=Sticky(parameter="user"))
    canary = Canary(speaker("old"), speaker("new"), policy=policy)

    async def main() -> dict[str, set[str]]:
        users = [f"user {at}" for at in range(20)]
        return {user: {await canary.said(user=user) for _ in range(3)} for user in users}

    found = run(main)
    assert all(len(said) == 1 for said in found.values())
    assert set.union(*found.values()) == {"old", "new"}


def test_mirrors_get_copies_of_whole_answers() -> None:
    canary = Canary(speaker("old"), speaker("new"), [0.0] * 9, weights={1: 100}, mirrors={2: 100.0})

    async def main() -> None:
        assert [await canary.said() for _ in range(3)] == ["old"] * 3
        await eventually(lambda: canary.arms.report().mirrors[2].compared >= 3)

    run(main)
    assert canary.arms.report().mirrors[2].agreed == 0


def test_an_arm_whose_outputs_are_no_text_is_charged_with_it() -> None:
    async def mute(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {**(await speaker("x")(inputs, context)), "text": np.array(["a", "b"], object)}

    canary = Canary(speaker("old"), mute, [0.9])
    assert run(canary.chat)["error"]["type"] == "server_error"
    assert canary.arms.report().arms[2].kinds == {"UnencodableOutput": 1}


@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_that_a_stop_sequence_ends_has_been_answered(stream: bool) -> None:
    ended = []

    async def endless(
        inputs: Mapping[str, Any], context: Context
    ) -> AsyncGenerator[dict[str, Any], None]:
        try:
            while True:
                yield {**(await speaker("ab")(inputs, context))}
        finally:
            ended.append(context.id)

    canary = Canary(endless, endless, weights={1: 100})
    run(lambda: canary.chat(stream=stream, stop="aba"))
    tally = canary.arms.report().arms[1]
    assert (tally.requests, tally.errors, tally.tokens.answers) == (1, 0, 1)
    assert len(ended) == 1


def test_a_stream_that_its_client_ends_is_not_counted() -> None:
    async def endless(
        inputs: Mapping[str, Any], context: Context
    ) -> AsyncGenerator[dict[str, Any], None]:
        while True:
            yield {"text": text("ab")}

    canary = Canary(endless, endless, weights={1: 100})

    async def main() -> None:
        request = InferenceRequest({"messages": text("[]")})
        stream = canary.arms.choose(request).stream(request)
        await anext(stream)
        await stream.aclose()

    run(main)
    assert canary.arms.report().arms[1].requests == 0


def test_a_revision_has_a_base_of_its_own_and_is_not_counted() -> None:
    canary = Canary(speaker("old"), speaker("new"))

    async def main() -> list[Any]:
        body = json.dumps({"messages": USER}).encode()
        path = "/openai/demo/versions/{}/v1/chat/completions"
        return [await ask(canary.app, path.format(number), body) for number in (1, 2, 9)]

    found = run(main)
    assert [status for status, _ in found] == [200, 200, 404]
    marks = [json.loads(body)["system_fingerprint"] for _, body in found[:2]]
    assert marks == ["r1", "r2"]
    assert [canary.arms.report().arms[number].requests for number in (1, 2)] == [0, 0]


# Side by side


def place(log: list[str]) -> Any:
    class Place:
        def __enter__(self) -> None:
            log.append("in")

        def __exit__(self, *_: object) -> None:
            log.append("out")

    return Place


async def numbers(upto: int) -> AsyncGenerator[int, None]:
    for number in range(upto):
        await asyncio.sleep(0)
        yield number


def test_one_source_needs_no_further_place() -> None:
    log: list[str] = []

    async def main() -> list[Any]:
        return [one async for one in side_by_side([lambda: numbers(3)], place(log))]

    assert run(main) == [(0, 0), (0, 1), (0, 2)]
    assert log == []


def test_each_further_source_has_a_place_while_it_runs() -> None:
    log: list[str] = []

    async def main() -> list[Any]:
        sources = [lambda at=at: numbers(at) for at in range(AT_ONCE + 4)]
        return [one async for one in side_by_side(sources, place(log))]

    found = run(main)
    for at in range(AT_ONCE + 4):
        assert [number for source, number in found if source == at] == list(range(at))
    assert log.count("in") == log.count("out") == AT_ONCE + 3


def test_no_more_than_so_many_run_at_once() -> None:
    open_now, most = 0, 0

    async def source() -> AsyncGenerator[int, None]:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0)
        yield 1
        open_now -= 1

    async def main() -> int:
        return len([one async for one in side_by_side([source] * 40, place([]))])

    assert run(main) == 40
    assert most == AT_ONCE


@pytest.mark.parametrize("early", [False, True])
def test_the_first_error_or_the_end_closes_all(early: bool) -> None:
    ended: list[int] = []

    async def endless(at: int) -> AsyncGenerator[int, None]:
        try:
            while True:
                await asyncio.sleep(0)
                yield at
        finally:
            ended.append(at)

    async def failing() -> AsyncGenerator[int, None]:
        yield 0
        raise NodeError("llm", "no")

    async def main() -> None:
        sources = [lambda at=at: endless(at) for at in range(3)]
        found = side_by_side([*sources, failing] if not early else sources, place([]))
        if early:
            await anext(found)
            await found.aclose()
        else:
            with pytest.raises(NodeError):
                async for _ in found:
                    pass

    run(main)
    assert sorted(ended) == [0, 1, 2]


def test_where_there_is_no_place_for_all_none_is_answered() -> None:
    def full() -> Any:
        raise TooManyRequests("at most 1", 3)

    async def main() -> None:
        with pytest.raises(TooManyRequests):
            async for _ in side_by_side([lambda: numbers(50)] * 2, full):
                pass

    run(main)
