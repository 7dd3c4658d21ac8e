"""OpenAI's API over a real engine: its own client, a canary, a rollout, a monitor, metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Given
from tests.engines import Engine
from tests.waiting import until, until_true

pytestmark = pytest.mark.e2e

CODE = '''
import asyncio
import json

import numpy as np


def text(value):
    return np.array([value], object)


class Size:
    def transform(self, messages):
        return np.array([[len(messages[0])]], np.float32)


class Whole:
    """Says its name and the words of the last message, at once."""

    def __init__(self, name):
        self.name = name

    def predict(self, messages, context):
        words = json.loads(messages[0])[-1]["content"].split()
        return {
            "text": text(" ".join([self.name, *words])),
            "prompt_tokens": np.array([len(words)]),
            "completion_tokens": np.array([len(words) + 1]),
        }


class Pieces:
    """Says the same word by word, after a pause."""

    def __init__(self, name, pause=0.0):
        self.name, self.pause = name, pause

    async def predict(self, messages, context):
        words = json.loads(messages[0])[-1]["content"].split()
        await asyncio.sleep(self.pause)
        for at, word in enumerate([self.name, *words]):
            yield {
                "text": text(word if at == 0 else f" {word}"),
                "prompt_tokens": np.array([len(words)]),
                "completion_tokens": np.array([at + 1]),
            }
'''
CHAT, ROLLED = "chat", "team/rolled"
USER: Any = [{"role": "user", "content": "one two three"}]
SAID = "one two three"
WINDOW = 5


def graph(named: str, component: str, isolate: bool = False, **args: Any) -> dict[str, Any]:
    outputs = {
        "text": {"datatype": "BYTES", "shape": [1]},
        "prompt_tokens": {"datatype": "INT64", "shape": [1]},
        "completion_tokens": {"datatype": "INT64", "shape": [1]},
    }
    say = {
        "type": "predictor", "component": f"components.py:{component}", "args": args,
        "inputs": {"messages": "messages"}, "outputs": outputs, "placement": {"isolate": isolate},
    }  # fmt: skip
    size = {
        "type": "transformer",
        "component": "components.py:Size",
        "inputs": {"messages": "messages"},
    }
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": named},
        "spec": {
            "protocols": ["openai"],
            "inputs": {"messages": {"datatype": "BYTES", "shape": [1]}},
            "nodes": {"size": size, "say": say},
            "outputs": {**{each: f"say.{each}" for each in outputs}, "size": "size"},
            "traffic": {"sticky": {"parameter": "user"}},
            "monitors": {"sizes": {"method": "sketch", "watches": ["size"], "window": WINDOW}},
        },
    }


@pytest.fixture(scope="module", autouse=True)
def deployed(given_once: Given) -> None:
    given_once.deployed(graph(CHAT, "Whole", name="old"), CODE)
    canary = graph(CHAT, "Pieces", isolate=True, name="new")
    given_once.beside(canary, CODE, "--canary", "0")


@pytest.fixture
def client(engine: Engine) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0) as one:
        yield one


ANSWERED = Counter[str]()
"""Requests that were answered, by graph."""


def said(client: openai.OpenAI, model: str = CHAT, **fields: Any) -> str:
    found: Any = client.chat.completions.create(model=model, messages=USER, **fields)
    ANSWERED[model] += 1
    if fields.get("stream"):
        return "".join(chunk.choices[0].delta.content or "" for chunk in found)
    return str(found.choices[0].message.content)


def metric(engine: Engine, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    samples = [
        sample
        for family in text_string_to_metric_families(engine.metrics())
        for sample in family.samples
        if sample.name == f"anabranch_{name}"
    ]
    return sum(one.value for one in samples if labels.items() <= one.labels.items())


@pytest.mark.parametrize("stream", [False, True])
def test_both_revisions_answer_whole_and_as_streams(
    engine: Engine, client: openai.OpenAI, stream: bool
) -> None:
    for revision, name in ((1, "old"), (2, "new")):
        engine.traffic(CHAT, routers=1, weights={revision: 100, 3 - revision: 0})
        found: Any = client.chat.completions.create(model=CHAT, messages=USER, stream=stream)
        ANSWERED[CHAT] += 1
        marks = {one.system_fingerprint for one in found} if stream else {found.system_fingerprint}
        assert marks == {f"r{revision}"}
        assert said(client, stream=stream) == f"{name} {SAID}"


def test_a_graph_has_a_base_url_of_its_own(engine: Engine) -> None:
    base = f"{engine.url}/openai/{CHAT}/v1"
    with openai.OpenAI(base_url=base, api_key="none", max_retries=0) as client:
        assert SAID in said(client)
        assert [one.id for one in client.models.list()] == [CHAT]
        with pytest.raises(openai.NotFoundError) as found:
            said(client, "gpt-4")
        assert found.value.code == "model_not_found"


def test_users_stay_on_their_revision(engine: Engine, client: openai.OpenAI) -> None:
    engine.traffic(CHAT, routers=1, weights={1: 50, 2: 50})
    users = [f"user-{at}" for at in range(12)]
    found = {
        user: {said(client, user=user, stream=stream).split()[0] for stream in (False, True, False)}
        for user in users
    }
    assert all(len(names) == 1 for names in found.values()), found
    assert set(Counter(name for names in found.values() for name in names)) == {"old", "new"}


def test_models_and_errors(client: openai.OpenAI) -> None:
    models = {one.id: one for one in client.models.list()}
    assert CHAT in models and abs(models[CHAT].created - time.time()) < 3600
    assert client.models.retrieve(CHAT).id == CHAT
    with pytest.raises(openai.NotFoundError) as found:
        said(client, "no-such-graph")
    assert found.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        said(client, temperature=9)
    assert bad.value.param == "temperature"


def test_tokens_are_counted_by_revision_and_monitors_see_requests(
    engine: Engine, client: openai.OpenAI
) -> None:
    engine.traffic(CHAT, routers=1, weights={1: 0, 2: 100})
    of = {"graph": CHAT, "revision": "2"}

    def check_all_counted() -> None:
        assert metric(engine, "arm_requests_total", graph=CHAT) == ANSWERED[CHAT]

    def counted() -> tuple[float, float]:
        """Streams, and tokens of their answers."""
        return (
            metric(engine, "arm_first_token_seconds_count", **of),
            metric(engine, "arm_tokens_total", kind="completion", **of),
        )

    until_true(check_all_counted)
    streams, tokens = counted()
    for _ in range(5):
        said(client, stream=True)
    until_true(check_all_counted)
    assert counted() == (streams + 5, tokens + 20)
    windows = metric(engine, "arm_requests_total", **of) // WINDOW

    def check_monitor() -> None:
        assert metric(engine, "monitor_rows_total", **of) == windows * WINDOW > 0

    until_true(check_monitor)


def test_a_rollout_judges_the_time_to_the_first_token(engine: Engine, given: Given) -> None:
    """A candidate that takes much longer to begin is aborted."""

    def is_aborted() -> bool:
        said(client, ROLLED, stream=True)
        return bool(engine.api("GET", f"/graphs/{ROLLED}/rollout").json()["phase"] == "aborted")

    given.deployed(graph(ROLLED, "Pieces", name="quick"), CODE)
    slow = graph(ROLLED, "Pieces", name="slow", pause=0.4)
    slow["spec"]["rollout"] = {
        "steps": [50],
        "hold": "60s",
        "analysis": {
            "interval": "1s",
            "min_samples": 3,
            "metrics": [{"metric": "ttft_p50", "max": "3x"}],
        },
    }
    given.beside(slow, CODE)
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=2) as client:
        until(is_aborted)
        # The page of a revision is there once what it says is in force.
        assert engine.api("GET", f"/graphs/{ROLLED}/revisions/2").json()["state"] == "warm"
        assert all(said(client, ROLLED).startswith("quick") for _ in range(5))
    assert "ttft_p50" in str(engine.api("GET", f"/graphs/{ROLLED}/rollout").json())
