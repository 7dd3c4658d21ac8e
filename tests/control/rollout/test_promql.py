from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest

from anabranch.control.lifecycle.analysis import External, Outside
from anabranch.control.rollout.outgoing import Caller
from anabranch.control.rollout.promql import MAX_REPLY, Prometheus, filled
from anabranch.specs.models import Metric
from tests.control.web import Answer, Asked, running


def ok(kind: str, result: Any) -> Answer:
    data = {"status": "success", "data": {"resultType": kind, "result": result}}
    return Answer(200, json.dumps(data).encode())


def sample(value: Any, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [1435781451.781, value]}


def ask(answer: Answer, query: str = "up", timeout: float = 5.0) -> External:
    with running(lambda _: answer) as web:
        return asyncio.run(asking(web.url, query, timeout))


async def asking(url: str, query: str, timeout: float = 5.0) -> External:
    caller = Caller(timeout)
    try:
        return await Prometheus(url, caller).ask(query)
    finally:
        await caller.close()


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (ok("scalar", [1435781451.781, "0.5"]), 0.5),
        (ok("vector", [sample("1.25", job="x")]), 1.25),
        (ok("vector", [sample("+Inf")]), math.inf),
        (ok("vector", [sample("-Inf")]), -math.inf),
        (ok("vector", [sample("1e-05")]), 1e-05),
        (ok("vector", []), None),
    ],
)
def test_one_number(answer: Answer, value: float | None) -> None:
    assert ask(answer) == External(value)


def test_not_a_number() -> None:
    found = ask(ok("vector", [sample("NaN")]))
    assert found.value is not None
    assert math.isnan(found.value)
    assert not found.error


BAD_QUERY = b'{"status": "error", "errorType": "bad_data", "error": "1:3: parse error"}'
PROMISE = "Prometheus: the answer is not what its API promises"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (ok("vector", [sample("1")] * 2), "Prometheus: the query gives 2 samples, not one"),
        (ok("matrix", []), "Prometheus: the query gives a matrix, not a number"),
        (ok("string", [1, "x"]), "Prometheus: the query gives a string, not a number"),
        (ok("scalar", [1, "many"]), PROMISE),
        (ok("scalar", []), PROMISE),
        (ok("scalar", None), PROMISE),
        (ok("vector", None), PROMISE),
        (ok("vector", [{}]), PROMISE),
        (ok("vector", ["x"]), PROMISE),
        (Answer(200, b""), PROMISE),
        (Answer(200, b"<html>"), PROMISE),
        (Answer(200, b"[]"), PROMISE),
        (Answer(200, b"1"), PROMISE),
        (Answer(200, b"{}"), PROMISE),
        (Answer(200, b'{"status": "success"}'), PROMISE),
        (Answer(200, b"\xff\xfe"), PROMISE),
        (Answer(200, b"[" * 100_000), PROMISE),
        (Answer(200, BAD_QUERY), "Prometheus: 1:3: parse error"),
        (Answer(400, BAD_QUERY), "Prometheus: 1:3: parse error"),
        (Answer(200, b'{"status": "maybe"}'), "Prometheus: no success"),
        (Answer(404, b"no such page"), "Prometheus: status 404: no such page"),
        (Answer(500), "Prometheus: status 500"),
        (Answer(302, headers={"location": "/"}), "Prometheus: status 302"),
        (
            Answer(200, b" " * (MAX_REPLY + 1)),
            f"Prometheus: the answer has more than {MAX_REPLY} bytes",
        ),
    ],
)  # fmt: skip
def test_whatever_goes_wrong_is_an_error(answer: Answer, error: str) -> None:
    assert ask(answer) == External(error=error)


def test_no_answer_is_an_error() -> None:
    with running() as web:
        web.answer = web.hang
        found = asyncio.run(asking(web.url, "up", timeout=0.1))
    assert found == External(error="Prometheus: no answer within 0.1 s")


def test_no_server_is_an_error() -> None:
    assert "ANABRANCH_PROMETHEUS" in asyncio.run(asking("", "up")).error


@pytest.mark.parametrize("path", ["", "/", "/prometheus", "/prometheus/"])
def test_where_the_query_goes(path: str) -> None:
    query = 'sum(rate(x{a=~"b|c"}[5m])) > 1 & 2 # é'
    with running(lambda _: ok("vector", [])) as web:
        asyncio.run(asking(web.url + path, query))
    (asked,) = web.asked
    assert (asked.method, asked.path) == ("GET", f"{path.rstrip('/')}/api/v1/query")
    assert asked.query == {"query": query}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ('x{graph="$graph", r="$revision"}', 'x{graph="digits", r="3"}'),
        ("${graph}_total / $stable", "digits_total / 2"),
        ('x{a=~"b$"} or y{c="$other"}', 'x{a=~"b$"} or y{c="$other"}'),
        ('x{a=~"b$$"}', 'x{a=~"b$"}'),
        ("$", "$"),
        ("$revisions", "$revisions"),
    ],
)
def test_names_in_a_query_are_filled_in(query: str, text: str) -> None:
    assert filled(query, "digits", 3, 2) == text


@pytest.mark.parametrize(
    ("limits", "outside"),
    [
        ({"max": 1.0}, Outside(External(30.0))),
        ({"max": 1.0, "min": 0.5}, Outside(External(30.0))),
        ({"max": "1.2x"}, Outside(External(30.0), External(20.0))),
        ({"max": 50.0, "min": "0.5x"}, Outside(External(30.0), External(20.0))),
    ],
)
def test_stable_is_asked_for_where_a_limit_needs_it(
    limits: dict[str, Any], outside: Outside
) -> None:
    def answer(asked: Asked) -> Answer:
        return ok("scalar", [0, str({"x(3, 2)": 30, "x(2, 2)": 20}[asked.query["query"]])])

    async def asks(url: str) -> Outside:
        caller = Caller()
        try:
            return await Prometheus(url, caller).outside(metric, "digits", 3, 2)
        finally:
            await caller.close()

    metric = Metric.model_validate({"metric": "promql", "query": "x($revision, $stable)", **limits})
    with running(answer) as web:
        assert asyncio.run(asks(web.url)) == outside
