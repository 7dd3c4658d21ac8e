"""A graph that deploys itself, and asks the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from anabranch import Client, EngineError, Graph
from tests.client.test_clients import COMPONENT, REPLY, ScriptedEngine, deployable, doubling, engine

__all__ = ["engine"]


@pytest.fixture
def client(engine: ScriptedEngine) -> Client:
    return Client("http://engine", "token", transport=httpx.MockTransport(engine))


def test_a_graph_deploys_itself(engine: ScriptedEngine, client: Client, tmp_path: Path) -> None:
    deployable(engine, "live")
    (tmp_path / "parts.py").write_text(COMPONENT)
    assert doubling(tmp_path).deploy(client, message="why").state == "live"
    assert engine.seen[0].url.params["message"] == "why"


def test_a_graph_is_asked_by_its_name(
    engine: ScriptedEngine, client: Client, tmp_path: Path
) -> None:
    engine.will("POST /v2/models/g/infer", REPLY)
    reply = doubling(tmp_path).infer({"x": np.float32([[1, 2]])}, ["y"], client, id="mine")
    assert (reply.revision, engine.bodies[0]["id"]) == (3, "mine")


@pytest.mark.parametrize("call", ["deploy", "infer"])
def test_without_a_client_it_is_the_home_s_engine(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    arguments: list[Any] = [[[1, 2]]] if call == "infer" else []
    with pytest.raises(EngineError, match="start one with `anabranch up`"):
        getattr(Graph("g"), call)(*arguments)
