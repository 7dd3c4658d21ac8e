"""Asynchronous requests over real HTTP, before a real store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from anabranch.control.later.keeping import AsyncKeeper
from anabranch.control.later.worker import AsyncWorker
from anabranch.control.settings.settings import Settings
from anabranch.control.store.async_requests import AsyncRequests, KeptReply
from anabranch.graph.batch.batching import LOWEST_LEVEL
from anabranch.router.http.doors.async_requests import _with_low_priority
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.later import AsyncAnswer, AsyncRequest
from tests.control.stores import new_store
from tests.router.conftest import BODY, make_arms, serving

ASYNC = {"prefer": "respond-async"}
HOOKS = "http://hooks.example.com/"


class OfGraph:
    """The keeper of an engine, for one graph."""

    def __init__(self, keeper: AsyncKeeper) -> None:
        self.keeper = keeper

    async def submit(self, request: AsyncRequest) -> AsyncAnswer:
        return await self.keeper.submit("demo", request)

    async def look(self, id: str, owner: str | None) -> AsyncAnswer:
        return await self.keeper.look("demo", id, owner)

    async def withdraw(self, id: str, owner: str | None) -> AsyncAnswer:
        return await self.keeper.withdraw("demo", id, owner)


class Served:
    def __init__(self, url: str, requests: AsyncRequests) -> None:
        self.url, self.requests = f"{url}/v2/models/demo", requests

    def post(self, body: Any = BODY, path: str = "/infer", **headers: str) -> httpx.Response:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return httpx.post(self.url + path, json=body, headers={**ASYNC, **named})

    def get(self, accepted: httpx.Response, method: str = "GET") -> httpx.Response:
        place = self.url.removesuffix("/v2/models/demo") + accepted.headers["location"]
        return httpx.request(method, place)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    requests = AsyncRequests(store.database)

    async def send(one: Any) -> KeptReply:
        raise AssertionError("no worker runs")

    settings = Settings(tmp_path, "", webhooks=(HOOKS,), async_total=2000.0)
    worker = AsyncWorker(requests, send, lambda: None)
    keeper = AsyncKeeper(settings, requests, worker)
    with serving(GraphApp(make_arms(), later=OfGraph(keeper))) as url:
        yield Served(url, requests)
    store.close()


def test_a_request_is_taken_and_answered_with_the_very_reply(served: Served) -> None:
    accepted = served.post(x_user="7", authorization="Bearer secret")
    assert accepted.status_code == 202
    assert accepted.headers["preference-applied"] == "respond-async"
    id = accepted.json()["id"]
    assert accepted.headers["location"] == f"/v2/models/demo/requests/{id}"
    assert served.get(accepted).status_code == 202
    (due,) = served.requests.due(time.time(), 9, ())
    assert due.request.path == "/v2/models/demo/infer"
    assert dict(due.request.headers)["x-user"] == "7"
    kept = json.loads(due.request.body)
    assert kept["parameters"] == {"priority": LOWEST_LEVEL}
    assert kept["inputs"] == BODY["inputs"]
    assert "authorization" not in dict(due.request.headers)
    reply = KeptReply(418, (("content-type", "text/plain"), ("x-own", "1")), b"short and stout")
    served.requests.finish(id, reply)
    found = served.get(accepted)
    assert (found.status_code, found.content) == (418, b"short and stout")
    assert (found.headers["content-type"], found.headers["x-own"]) == ("text/plain", "1")


def test_a_request_without_the_preference_is_answered_at_once(served: Served) -> None:
    for prefer in ("", "wait=10", "respond-asynchronously", "return=minimal"):
        assert served.post(prefer=prefer).status_code == 200
    for prefer in ("wait=10, Respond-Async", "respond-async; x=1"):
        assert served.post(prefer=prefer).status_code == 202


def test_what_could_never_be_answered_is_refused_at_once(served: Served) -> None:
    assert served.post({"inputs": []}).status_code == 400
    assert served.post(path="/versions/9/infer").status_code == 404
    hook = served.post(x_anabranch_webhook="http://elsewhere/x")
    assert hook.status_code == 400
    assert HOOKS in hook.json()["error"]
    assert served.post(x_anabranch_webhook=f"{HOOKS}x").status_code == 202
    assert served.requests.kept()[0] == 1


def test_no_more_is_kept_than_the_settings_allow(served: Served) -> None:
    statuses = [served.post().status_code for _ in range(30)]
    assert statuses[0] == 202
    assert statuses[-1] == 503
    assert "ANABRANCH_ASYNC_TOTAL" in served.post().json()["error"]


@pytest.mark.parametrize(("id", "status"), [("0" * 32, 404), ("x", 400), ("0" * 33, 400)])
def test_unknown_requests(served: Served, id: str, status: int) -> None:
    for method in ("GET", "DELETE"):
        assert httpx.request(method, f"{served.url}/requests/{id}").status_code == status
    assert httpx.post(f"{served.url}/requests/{id}").status_code == 405


def test_cancelled_and_lost_requests_say_so(served: Served) -> None:
    first, second = served.post(), served.post()
    assert served.get(first, "DELETE").json()["state"] == "cancelled"
    assert served.get(first).status_code == 410
    served.requests.due(time.time(), 9, ())
    served.requests.lose(second.json()["id"])
    lost = served.get(second)
    assert (lost.status_code, "was lost" in lost.json()["error"]) == (500, True)
    assert served.get(second, "DELETE").json()["state"] == "lost"
    assert served.get(second).status_code == 404


@pytest.mark.parametrize(
    "head",
    [
        b'{"inputs": [ {"name": "x", "data": [1e-3, -0.0, 12345678901234567890123]} ]}',
        b'{"parameters": {"priority": 2, "user": "\\u00e9"}, "inputs": []}',
        b'{"inputs": [], "parameters": null}',
    ],
)
def test_a_body_keeps_all_but_its_priority(head: bytes) -> None:
    found, headers = _with_low_priority(head, None)
    assert headers == []
    before, after = (msgspec.json.decode(one, type=dict[str, msgspec.Raw]) for one in (head, found))
    assert bytes(after["inputs"]) == bytes(before["inputs"])
    own = msgspec.json.decode(before.get("parameters", b"null")) or {}
    assert msgspec.json.decode(after["parameters"]) == {"priority": LOWEST_LEVEL, **own}
    binary, (length,) = _with_low_priority(head + b"\x00\x01", len(head))
    assert binary == found + b"\x00\x01"
    assert length == ("inference-header-content-length", str(len(found)))


def test_a_body_that_is_the_only_input_stays_as_it_is(served: Served) -> None:
    headers = {**ASYNC, "inference-header-content-length": "0"}
    sent = b"\0\0\x80\x3f" * 2
    reply = httpx.post(f"{served.url}/infer", content=sent, headers=headers)
    assert reply.status_code == 202, reply.text
    (due,) = served.requests.due(time.time(), 9, ())
    assert due.request.body == sent
    assert dict(due.request.headers)["inference-header-content-length"] == "0"


def test_without_a_place_to_keep_them_requests_are_answered_at_once() -> None:
    with serving(GraphApp(make_arms())) as url:
        reply = httpx.post(f"{url}/v2/models/demo/infer", json=BODY, headers=ASYNC)
    assert reply.status_code == 200
