"""Feature servers: the form of Feast's, and what else may come."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from anabranch.components.contract import CannotLoad
from anabranch.components.features.kinds import open_store
from anabranch.components.features.stores import StoredRow
from anabranch.components.runtimes.open_inference.server import RemoteError
from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.errors import DeadlineExceeded, Unavailable
from tests.components.features.conftest import options
from tests.json_services import JsonServices, json_services

REFS = ("users:age", "users:tier")


@pytest.fixture
def services():
    with json_services() as found:
        yield found


def fetched(url: str, keys: Any, **more: Any) -> Any:
    async def run() -> Any:
        store = open_store(options(url, **{"refs": REFS, **more}))
        try:
            await store.open()
            return await store.fetch(keys)
        finally:
            await store.close()

    return asyncio.run(run())


def answer(*results: Any, names: Any = ("users__age", "users__tier")) -> tuple[int, Any]:
    return 200, {"metadata": {"feature_names": names}, "results": list(results)}


def test_one_call_asks_for_all_entities(services: JsonServices) -> None:
    url = services.add(
        "/get-online-features?project=a",
        answer(
            {
                "values": [30, None, 5],
                "statuses": ["PRESENT", "NOT_FOUND", "OUTSIDE_MAX_AGE"],
                "event_timestamps": ["2026-11-01T00:00:00Z", "1970-01-01T00:00:00Z", None],
            },
            {
                "values": ["gold", None, None],
                "statuses": ["PRESENT", "NOT_FOUND", "NULL_VALUE"],
                "event_timestamps": ["2026-11-02T00:00:00Z", "1970-01-01T00:00:00Z", None],
            },
        ),
    )
    keys = [("oslo", 1), ("oslo", 2), ("bonn", 3)]
    found = fetched(url, keys, entities=("shop", "user_id"), token="secret")
    assert found == [StoredRow((30, "gold"), 1793491200.0), None, None]
    (call,) = services.calls
    assert call.headers["authorization"] == "Bearer secret"
    assert json.loads(call.body) == {
        "features": list(REFS),
        "entities": {"shop": ["oslo", "oslo", "bonn"], "user_id": [1, 2, 3]},
        "full_feature_names": True,
    }


@pytest.mark.parametrize(
    "names",
    [["users:age", "users:tier"], {"val": ["age", "tier"]}, ["user_id", "age", "tier"]],
)
def test_names_may_be_short_and_keys_among_them(services: JsonServices, names: Any) -> None:
    results = [{"values": [1]}] * (len(names) == 3) + [{"values": [30]}, {"values": ["gold"]}]
    url = services.add("/f", answer(*results, names=names))
    assert fetched(url, [(1,)]) == [StoredRow((30, "gold"), None)]
    assert "authorization" not in services.calls[0].headers


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        ((200, {"results": []}), BadAnswer, "gives no answer of a feature server"),
        ((200, b"<html>"), BadAnswer, "gives no answer of a feature server"),
        (answer({"values": [1]}, names=["users__age"]), BadAnswer, "gives no 'users:tier'"),
        (answer({"values": [1, 2]}, {"values": [1]}), BadAnswer, "gives 2 values of 'users:age'"),
        ((404, {"error": "no view"}), RemoteError, "answered 404: no view"),
        ((503, {}), Unavailable, "is overloaded"),
    ],
)
def test_answers_that_are_none(services: JsonServices, reply: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        fetched(services.add("/f", reply), [(1,)])


def test_a_server_that_is_late(services: JsonServices) -> None:
    over = threading.Event()

    def slow(body: bytes) -> tuple[int, Any]:
        over.wait(60)
        return 200, {}

    try:
        with pytest.raises(DeadlineExceeded, match="the feature server of node 'profile'"):
            fetched(services.add("/f", slow), [(1,)], seconds=0.05)
    finally:
        over.set()


def test_urls_hold_no_credentials() -> None:
    with pytest.raises(CannotLoad, match="write the URL as"):
        fetched("http://user@host/f", [(1,)])
