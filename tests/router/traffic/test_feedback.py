"""Feedback that one router is told, over ASGI; ``Source`` stands in for the controller."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from anabranch.components.contract import Choice, Context, NodeFeedback
from anabranch.errors import NotFound, RequestError
from anabranch.graph.execute.recovery import STAND_IN
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.measure.tally import Tally
from anabranch.router.traffic import feedback as module
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.decisions import ROUTING, Decision, from_routing, routing
from anabranch.router.traffic.feedback import (
    MAX_BODY,
    MAX_REWARD,
    TOO_EARLY,
    Feedback,
    RewardEntry,
    RewardOutcome,
)
from tests.examples import examples
from tests.router.conftest import SIGNATURES, make_table
from tests.strategies import json_values

BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 4, 3]}]}
ROUTERS = {"chooser": ("forest", "net")}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "ON_ITS_WAY_S", 0.003)


class Source:
    """Counts each id once, and is away for the next ``away`` calls."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}
        self.early = 0
        self.counted: dict[str, RewardEntry] = {}
        self.refuses: RequestError | None = None
        self.away = 0
        self.sent: list[RewardEntry] = []

    async def recall(self, ids: Sequence[str]) -> list[bytes | None]:
        self._call()
        if self.early:
            self.early -= 1
            return [TOO_EARLY] * len(ids)
        return [self.known.get(id) for id in ids]

    async def reward(self, entries: Sequence[RewardEntry]) -> list[RewardOutcome | RequestError]:
        self.sent += entries
        self._call()
        return [self._one(entry) for entry in entries]

    def _one(self, entry: RewardEntry) -> RewardOutcome | RequestError:
        if self.refuses is not None:
            return self.refuses
        first = self.counted.setdefault(entry.decision.id, entry)
        return RewardOutcome(first.token == entry.token, first.reward)

    def _call(self) -> None:
        if self.away:
            self.away -= 1
            raise ConnectionError("away")


class Graph:
    """A graph with a router node, and the source that its feedback goes to."""

    def __init__(self, make: Callable[..., Arms], pick: str = "forest", **more: Any) -> None:
        async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
            context.path["chooser"] = pick
            return {"doubled": inputs["x"] * 2, "rows": np.array(len(inputs["x"]))}

        self.arms = make(more.pop("step", step), routers=more.pop("routers", ROUTERS))
        self.source = Source()
        self.app = GraphApp(self.arms, feedback=Feedback(self.arms, self.source))

    async def post(self, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
        received = iter([{"type": "http.request", "body": body}])
        sent: list[Any] = []

        async def receive() -> Any:
            message = next(received, None)
            if message is None:
                await asyncio.Event().wait()
            return message

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
        path = f"/v2/models/demo/{path}"
        scope = {"type": "http", "method": "POST", "path": path, "headers": raw}
        await self.app(scope, receive, send)
        data = b"".join(message.get("body", b"") for message in sent)
        events = data.split(b"\n\n")[0].removeprefix(b"data: ")
        return sent[0]["status"], json.loads(events)

    async def asked(self, path: str = "infer", **more: Any) -> dict[str, Any]:
        status, answer = await self.post(path, json.dumps(BODY | more).encode())
        assert status == 200, answer
        found: dict[str, Any] = answer
        return found

    async def told(self, **body: Any) -> tuple[int, Any]:
        return await self.post("feedback", json.dumps(body).encode())

    @property
    def tally(self) -> Tally:
        return self.arms.report().arms[3]


def read(answer: Mapping[str, Any]) -> Decision:
    """The decision that an answer tells of."""
    return from_routing(answer["parameters"][ROUTING], SIGNATURES)


def signed(id: str, revision: int = 3, **path: str) -> str:
    """The routing of an answer that no router remembers."""
    return routing(Decision(id, revision, path), SIGNATURES)


def play(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


# Components that take rewards


def test_a_component_gets_each_reward_once(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms)
        head = graph.arms.routing.stable.core._head
        await graph.asked(id="7")
        assert (await graph.told(id="7", reward=0.5, truth=["cat", "dog"]))[0] == 200
        assert (await graph.told(id="7", reward=0.5))[1]["counted"] is False
        await graph.told(id="unknown", reward=1)
        await graph.arms.close()
        assert head.rewards == [  # type: ignore[attr-defined]
            NodeFeedback("7", 0.5, ["cat", "dog"], {"chooser": "forest"})
        ]

    play(main())


def test_a_graph_that_takes_rewards_leaves_decisions_without_a_choice(
    arms: Callable[..., Arms],
) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"doubled": inputs["x"] * 2, "rows": np.array(1)}

    async def main() -> None:
        graph = Graph(arms, step=step, routers={})
        head = graph.arms.routing.stable.core._head
        head.takes_feedback = True  # type: ignore[misc]
        graph.arms.apply(make_table(generation=2))
        answer = await graph.asked(id="7")
        assert read(answer).path == {}
        assert (await graph.told(id="7", reward=1))[1]["counted"] is True
        await asyncio.sleep(0)  # nobody waits for what goes to components
        await graph.arms.close()
        assert [one.id for one in head.rewards] == ["7"]  # type: ignore[attr-defined]

    play(main())


# What a reply carries


def test_a_reply_carries_its_routing(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms, pick=Choice("forest", (0.5, 2.0)))
        status, answer = await graph.post("infer", json.dumps(BODY).encode(), x_request_id="r7")
        assert status == 200
        told = json.loads(answer["parameters"][ROUTING])
        assert (told["kid"], len(told["signature"])) == (SIGNATURES.key, 44)
        assert read(answer) == Decision("r7", 3, {"chooser": "forest"}, {"chooser": (0.5, 2.0)})
        own = await graph.asked(id="mine")
        assert read(own).id == "mine"

    play(main())


def test_a_request_to_a_revision_carries_it_too(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        answer = await Graph(arms).asked("versions/3/infer")
        assert read(answer).path == {"chooser": "forest"}

    play(main())


def test_without_a_choice_there_is_none(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms, routers={})
        assert "parameters" not in await graph.asked()
        assert not graph.arms.made.has_news

    play(main())


def test_several_arms_are_a_choice(demo: Any) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"doubled": inputs["x"] * 2, "rows": np.array(1)}

    async def main() -> None:
        graph = demo({1: step, 2: step}, draws=[0.1, 0.9])
        graph.apply({1: 50.0, 2: 50.0})
        for revision in (1, 2):
            _, answer = await graph.ask()
            found = read(answer)
            assert (found.revision, found.path) == (revision, {})
        graph.apply({2: 100.0}, 2)
        assert "parameters" not in (await graph.ask())[1]

    play(main())


def test_generate_and_the_first_message_of_a_stream_carry_it(arms: Callable[..., Arms]) -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> Any:
        context.path["chooser"] = "net"
        yield {"doubled": inputs["x"] * 2, "rows": np.array(1)}
        yield {"doubled": inputs["x"] * 3, "rows": np.array(1)}

    async def main() -> None:
        graph = Graph(arms, step=step)
        plain = json.dumps({"x": [[1, 2]]}).encode()
        found = [response async for response in graph.arms.stream(_request())]
        assert [list(response.parameters) for response in found] == [[ROUTING], []]
        _, first = await graph.post("generate_stream", plain)
        assert read(first).path == {"chooser": "net"}
        _, answer = await Graph(arms).post("generate", plain)
        assert read(answer).path == {"chooser": "forest"}

    play(main())


def _request() -> Any:
    from anabranch.router.inference.contract import InferenceRequest

    return InferenceRequest({"x": np.ones((1, 2), np.float32)}, request_id="r1")


# What counts


def test_by_id_and_by_routing_it_counts_once(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms)
        told = (await graph.asked(id="a"))["parameters"][ROUTING]
        assert await graph.told(id="a", reward=0.5) == (
            200, {"id": "a", "counted": True, "reward": 0.5},
        )  # fmt: skip
        again = 200, {"id": "a", "counted": False, "reward": 0.5}
        assert await graph.told(id="a", reward=1) == again
        assert await graph.told(routing=told, reward=1) == again
        tally = graph.tally
        assert (tally.rewards.count, tally.rewards.total, tally.repeated) == (1, 0.5, 2)
        assert tally.routes["chooser", "forest"].count == 1

    play(main())


def test_routing_needs_no_memory(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        told = (await Graph(arms).asked(id="a"))["parameters"][ROUTING]
        other = Graph(arms)
        assert (await other.told(routing=told, reward=-2))[1]["counted"] is True
        assert other.tally.routes["chooser", "forest"].total == -2

    play(main())


def test_another_router_may_have_answered(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        one, other = Graph(arms), Graph(arms)
        await one.asked(id="a")
        other.source.known = dict(one.arms.made.news(9))
        assert (await other.told(id="a", reward=1))[1]["counted"] is True
        assert other.source.sent[0].decision == one.arms.made.find("a")

    play(main())


def test_what_is_on_its_way_is_waited_for(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        one, other = Graph(arms), Graph(arms)
        await one.asked(id="a")
        asked = asyncio.create_task(other.told(id="a", reward=1))
        await asyncio.sleep(0)
        other.source.known = dict(one.arms.made.news(9))
        assert (await asked)[0] == 200

    play(main())


def test_an_unknown_id_is_not_found(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms)
        status, answer = await graph.told(id="nobody", reward=1)
        assert status == 404
        assert "no request with id 'nobody' is remembered" in answer["error"]
        assert graph.source.sent == []

    play(main())


def test_who_has_not_heard_from_all_is_asked_again(
    arms: Callable[..., Arms], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        one, other = Graph(arms), Graph(arms)
        await one.asked(id="a")
        other.source.early = 10
        other.source.known = dict(one.arms.made.news(9))
        assert (await other.told(id="a", reward=1))[0] == 200
        told = signed("a", chooser="forest")
        other.source.early = 10
        assert (await other.told(routing=told, truth=[1, 0]))[0] == 200
        monkeypatch.setattr(module, "PATIENCE_S", 0.02)
        other.source.early = 10**9
        assert (await other.told(id="b", reward=1))[0] == 503

    play(main())


def test_what_the_controller_refuses_is_told(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms)
        await graph.asked(id="a")
        graph.source.refuses = NotFound("there is no revision 3")
        assert await graph.told(id="a", reward=1) == (404, {"error": "there is no revision 3"})
        assert graph.tally.rewards.count == 0

    play(main())


def test_a_controller_that_is_away_is_waited_for(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms)
        await graph.asked(id="a")
        graph.source.away = 3
        assert (await graph.told(id="a", reward=1))[1]["counted"] is True
        # One reward, however often it was sent.
        assert len(graph.source.sent) == 4
        assert len({entry.token for entry in graph.source.sent}) == 1

    play(main())


def test_it_is_not_waited_for_for_ever(
    arms: Callable[..., Arms], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(module, "PATIENCE_S", 0.01)
        graph = Graph(arms)
        await graph.asked(id="a")
        graph.source.away = 10**9
        status, answer = await graph.told(id="a", reward=1)
        assert status == 503
        assert "cannot be stored now" in answer["error"]
        assert graph.tally.rewards.count == 0

    play(main())


def test_no_more_than_so_many_may_wait(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms)
        feedback = Feedback(graph.arms, graph.source)
        graph.app = GraphApp(graph.arms, feedback=feedback)
        for _ in range(module.MAX_ONGOING):
            feedback.gate.__enter__()
        assert (await graph.told(id="a", reward=1))[0] == 503
        assert "parameters" in await graph.asked()

    play(main())


def test_a_reward_for_a_stand_in_counts_for_no_route(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms, pick=STAND_IN)
        await graph.asked(id="a")
        assert (await graph.told(id="a", reward=1))[1]["counted"] is True
        assert (graph.tally.rewards.count, graph.tally.routes) == (1, {})

    play(main())


def test_of_a_revision_that_was_never_here_nothing_is_counted_here(
    arms: Callable[..., Arms],
) -> None:
    async def main() -> None:
        graph = Graph(arms)
        told = signed("a", 99)
        assert (await graph.told(routing=told, reward=1))[0] == 200
        assert list(graph.arms.report().arms) == [3]

    play(main())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"id": "b"}, "the signature of the routing is wrong"),
        ({"path": {"chooser": "net"}}, "the signature of the routing is wrong"),
        ({"revision": 4}, "the signature of the routing is wrong"),
        ({"features": {"chooser": [1.0]}}, "the signature of the routing is wrong"),
        ({"kid": "other"}, "a key that this engine does not have"),
        ({"signature": ""}, "the routing is not signed"),
    ],
)
def test_a_forged_routing_gets_no_reward(
    arms: Callable[..., Arms], changed: dict[str, Any], message: str
) -> None:
    async def main() -> None:
        graph = Graph(arms)
        told = json.loads((await graph.asked(id="a"))["parameters"][ROUTING])
        status, answer = await graph.told(routing=json.dumps(told | changed), reward=1)
        assert status == 400
        assert message in answer["error"]
        assert graph.source.sent == []
        assert (await graph.told(routing=json.dumps(told), reward=1))[1]["counted"] is True

    play(main())


def test_a_routing_that_is_cut_short_gets_no_reward(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms)
        routing = (await graph.asked(id="a"))["parameters"][ROUTING]
        signature = json.loads(routing)["signature"]
        ends = range(len(signature))
        cut = [routing[:end] for end in range(len(routing))]
        cut += [routing.replace(signature, signature[:end]) for end in ends]
        for one in cut:
            assert (await graph.told(routing=one, reward=1))[0] == 400, one
        assert graph.source.sent == []

    play(main())


# Truth


def test_truth_is_held_against_the_answer(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms)
        await graph.asked(id="a")  # class 1, then 0
        assert (await graph.told(id="a", truth=[1, 1]))[1]["reward"] == 0.5
        await graph.asked(id="b")
        assert (await graph.told(id="b", truth=[1, 0], reward=-3))[1]["reward"] == -3
        assert (graph.tally.rewards.right, graph.tally.rewards.judged) == (3, 4)

    play(main())


def test_the_answer_is_found_by_routing_too(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms)
        told = (await graph.asked(id="a"))["parameters"][ROUTING]
        assert (await graph.told(routing=told, truth=[1, 0]))[1]["reward"] == 1.0
        # Another request with that id is not the one that is meant.
        another = signed("a", chooser="net")
        status, answer = await graph.told(routing=another, truth=[1, 0])
        assert status == 400
        assert "no answer of this request is remembered" in answer["error"]
        assert (await graph.told(routing=another, truth=[1, 0], reward=1))[0] == 200

    play(main())


@pytest.mark.parametrize("truth", [[1], [1, 0, 1], [], 1])
def test_truth_has_a_label_for_each_row(arms: Callable[..., Arms], truth: Any) -> None:
    async def main() -> None:
        graph = Graph(arms)
        await graph.asked(id="a")
        status, answer = await graph.told(id="a", truth=truth, reward=1)
        assert status == 400
        assert "the answer had 2 rows" in answer["error"]
        assert graph.source.sent == []

    play(main())


# What is refused


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"7", b"\xff", b"{}", b'{"id": "a"}', b'{"reward": 1}',
        b'{"id": "a", "reward": NaN}', b'{"id": "a", "reward": Infinity}',
        b'{"id": "a", "reward": -Infinity}', b'{"id": "a", "reward": 1e999}',
        b'{"id": "a", "reward": true}', b'{"id": "a", "reward": "1"}', b'{"id": "a", "reward": []}',
        b'{"id": "a", "reward": null}', b'{"id": "a", "reward": 1000000001}',
        b'{"id": "a", "reward": -1000000000.5}', b'{"id": "a", "reward": 1' + b"0" * 400 + b"}",
        b'{"id": 7, "reward": 1}', b'{"id": "", "reward": 1}', b'{"id": ["a"], "reward": 1}',
        b'{"id": "' + b"x" * 1025 + b'", "reward": 1}', b'{"id": null, "reward": 1}',
        b'{"id": "a", "routing": "{}", "reward": 1}', b'{"routing": "{}", "reward": 1}',
        b'{"routing": {"id": "a", "revision": 3, "path": {}}, "reward": 1}',
        b'{"routing": "", "reward": 1}', b'{"id": "a", "reward": 1, "rewards": 2}',
        b'{"id": "a", "reward": 1, "truth": {}}', b'{"id": "a", "reward": 1, "truth": [[1]]}',
        b'{"id": "a", "reward": 1, "truth": [null]}', b'{"id": "a", "truth": NaN}',
        b'{"id": "a", "reward": 1, "truth": ' + b"[" * 5000, b'{"id": "\\ud800", "reward": 1}',
    ],
)  # fmt: skip
def test_malformed_feedback_is_refused(arms: Callable[..., Arms], body: bytes) -> None:
    async def main() -> None:
        graph = Graph(arms)
        await graph.asked(id="a")
        status, answer = await graph.post("feedback", body)
        assert status == 400, answer
        assert list(answer) == ["error"]
        assert graph.source.sent == []

    play(main())


@pytest.mark.parametrize("reward", [0, -1, 0.1, 10**9, MAX_REWARD, -MAX_REWARD, 1e-300])
def test_any_other_number_is_a_reward(arms: Callable[..., Arms], reward: float) -> None:
    async def main() -> None:
        graph = Graph(arms)
        await graph.asked(id="a")
        assert await graph.told(id="a", reward=reward) == (
            200, {"id": "a", "counted": True, "reward": reward},
        )  # fmt: skip

    play(main())


def test_a_large_body_is_refused(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        body = json.dumps({"id": "a", "reward": 1, "truth": ["x" * MAX_BODY]}).encode()
        assert (await Graph(arms).post("feedback", body))[0] == 413

    play(main())


@pytest.mark.parametrize("path", ["versions/3/feedback", "feedback/a"])
def test_there_is_one_place_for_it(arms: Callable[..., Arms], path: str) -> None:
    async def main() -> None:
        assert (await Graph(arms).post(path, b'{"id": "a", "reward": 1}'))[0] == 404

    play(main())


def test_a_graph_without_a_controller_takes_none(arms: Callable[..., Arms]) -> None:
    async def main() -> None:
        graph = Graph(arms)
        graph.app = GraphApp(graph.arms)
        assert (await graph.told(id="a", reward=1))[0] == 404

    play(main())


LEAK = re.compile(r"Traceback|File \"|/site-packages/|\bat 0x")
fields = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a", "b", ""]) | json_values,
        "routing": json_values
        | st.builds(
            lambda one: json.dumps(one),
            st.fixed_dictionaries(
                {"id": json_values, "revision": json_values, "path": json_values},
                optional={"features": json_values},
            )
            | st.just({"id": "a", "revision": 3, "path": {"chooser": "forest"}}),
        )
        | st.just(signed("a", chooser="forest")),
        "reward": st.floats() | json_values,
        "truth": st.lists(st.integers(0, 1)) | json_values,
        "more": json_values,
    },
)


@settings(max_examples=examples(300), deadline=None)
@given(fields.map(lambda one: json.dumps(one).encode()) | st.binary(max_size=200))
def test_whatever_comes_is_counted_or_refused(body: bytes) -> None:
    from tests.router.conftest import make_arms

    async def main() -> None:
        graph = Graph(make_arms)
        await graph.asked(id="a")
        status, answer = await graph.post("feedback", body)
        event(str(status))
        assert status in (200, 400, 404), answer
        if status == 200:
            assert answer["counted"] is True
            assert math.isfinite(answer["reward"])
            assert len(graph.source.counted) == 1
        else:
            assert not LEAK.search(answer["error"])
            assert graph.source.sent == []

    play(main())
