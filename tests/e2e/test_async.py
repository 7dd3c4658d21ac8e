"""Asynchronous requests to a real engine: kept, answered later, and never answered twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import anabranch
from tests.control.web import Web
from tests.e2e.conftest import Given, node, spec
from tests.engines import HTTP, Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
import asyncio
import pathlib

class Patient:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    async def transform(self, x):
        with (self.folder / "calls").open("a") as file:
            file.write("one\\n")
        while not (self.folder / "open").exists():
            await asyncio.sleep(0.02)
        return x * 2
"""
ASYNC = {"prefer": "respond-async, wait=10"}


def deployed(given: Given, name: str, folder: Path, **fields: Any) -> str:
    patient = node("Patient", args={"folder": str(folder)}, **fields)
    return given.deployed(spec(name, patient=patient), CODE)


def calls(folder: Path) -> int:
    file = folder / "calls"
    return len(file.read_text().splitlines()) if file.exists() else 0


def submitted(engine: Engine, name: str, headers: Mapping[str, str] = {}) -> httpx.Response:
    reply = engine.infer(name, headers={**ASYNC, **headers})
    assert reply.status_code == 202, reply.text
    assert reply.headers["preference-applied"] == "respond-async"
    return reply


def looked(engine: Engine, accepted: httpx.Response) -> httpx.Response:
    """What is said of a request."""
    return engine.told(accepted.headers["location"])


def answered(engine: Engine, accepted: httpx.Response) -> httpx.Response:
    found: list[httpx.Response] = []

    def is_over() -> bool:
        found[:] = [looked(engine, accepted)]
        return found[0].status_code != 202

    until(is_over)
    return found[0]


def withdrawn(engine: Engine, accepted: httpx.Response, state: str, gone: int) -> None:
    """Withdraw a request that is found in a ``state``, and has the status ``gone`` after that.

    A controller on a busy machine may have withdrawn it, and be too late to say so.
    """
    place = engine.url + accepted.headers["location"]
    reply = HTTP.delete(place)
    while reply.status_code == 503 and looked(engine, accepted).status_code != gone:
        reply = HTTP.delete(place)
    assert reply.status_code == 503 or reply.json()["state"] == state, reply.text


def test_a_request_is_answered_later(
    engine: Engine, given: Given, outside: Web, tmp_path: Path
) -> None:
    name = deployed(given, "patient", tmp_path)
    hook = f"{outside.url}/later"
    first = submitted(engine, name, {"x-anabranch-webhook": hook})
    waiting = looked(engine, first)
    assert waiting.status_code == 202
    assert waiting.json()["id"] == first.json()["id"]
    assert waiting.headers["retry-after"] == "1"
    (tmp_path / "open").touch()
    reply = answered(engine, first)
    assert reply.status_code == 200
    assert reply.json()["outputs"][0]["data"] == [2.0, 4.0]
    assert reply.headers["content-type"] == "application/json"
    assert looked(engine, first).json() == reply.json(), "the reply stays"
    until(lambda: any(one.path == "/later" for one in outside.asked))
    told = next(one.json for one in outside.asked if one.path == "/later")
    assert told["event"] == "request_over"
    assert told["data"]["location"] == first.headers["location"]
    assert told["data"]["status"] == 200
    withdrawn(engine, first, "done", gone=404)
    assert looked(engine, first).status_code == 404
    assert calls(tmp_path) == 1


def test_wrong_requests_are_refused_at_once(engine: Engine, given: Given, tmp_path: Path) -> None:
    name = deployed(given, "strict", tmp_path)
    wrong = engine.infer(name, {"inputs": []}, headers=ASYNC)
    assert (wrong.status_code, wrong.json()["error"][:15]) == (400, "missing input '")
    elsewhere = engine.infer(name, headers={**ASYNC, "x-anabranch-webhook": "http://10.0.0.1/x"})
    assert elsewhere.status_code == 400
    assert "ANABRANCH_WEBHOOKS" in elsewhere.json()["error"]
    unknown = HTTP.get(f"{engine.graph_url(name)}/requests/{'0' * 32}")
    assert unknown.status_code == 404
    assert "no asynchronous request" in unknown.json()["error"]
    assert HTTP.get(f"{engine.graph_url(name)}/requests/x").status_code == 400


def test_a_request_can_be_cancelled(engine: Engine, given: Given, tmp_path: Path) -> None:
    name = deployed(given, "cancelled", tmp_path)
    accepted = submitted(engine, name)
    until(lambda: calls(tmp_path) == 1)
    withdrawn(engine, accepted, "cancelled", gone=410)
    gone = looked(engine, accepted)
    assert (gone.status_code, "was cancelled" in gone.json()["error"]) == (410, True)


def test_clients_wait_without_a_connection(engine: Engine, given: Given, tmp_path: Path) -> None:
    name = deployed(given, "client", tmp_path)
    (tmp_path / "open").touch()
    with anabranch.Client(engine.url) as client:
        reply = client.infer(name, {"x": np.ones((1, 2), np.float32)}, respond_async=True)
    assert reply["y"].tolist() == [[2.0, 2.0]]
    done = engine.command("infer", name, "-i", "x=[[1, 2]]", "--async")
    assert done.returncode == 0, done.stderr
    assert f"/v2/models/{name}/requests/" in done.stdout


@pytest.mark.parametrize("idempotent", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_a_controller_that_is_killed_in_the_middle(
    engine: Engine, given: Given, tmp_path: Path, idempotent: bool
) -> None:
    name = deployed(given, f"killed-{idempotent}".lower(), tmp_path, idempotent=idempotent)
    accepted = submitted(engine, name)
    until(lambda: calls(tmp_path) == 1)
    (controller,) = actor_processes(engine, "Controller")
    controller.kill()
    controller.wait(60)
    (tmp_path / "open").touch()
    reply = answered(engine, accepted)
    if idempotent:
        assert reply.json()["outputs"][0]["data"] == [2.0, 4.0]
        assert calls(tmp_path) == 2
    else:
        assert reply.status_code == 500
        assert "was lost" in reply.json()["error"]
        assert calls(tmp_path) == 1
