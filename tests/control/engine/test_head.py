"""What the head process changes in Ray, and whether Ray's own programs take it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from anabranch.control.engine import head

services = pytest.importorskip("ray._private.services")

CODE = """
import json

from ray._private import services

from anabranch.control.engine import head

told = {}
services.start_ray_process = lambda command, kind, fate_share: told.setdefault(kind, command)
head._tell_raylet_of_its_agent(["start", "--dashboard-agent-listen-port=12345"])
services.start_ray_process([services.RAYLET_EXECUTABLE], "raylet", fate_share=True)
services.start_ray_process(["gcs"], "gcs_server", fate_share=True)
print(json.dumps(told))
"""
"""In a process of its own, since it changes Ray."""


def test_the_raylet_is_told_of_its_agent_by_a_flag_that_it_knows() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=True
    )
    told = json.loads(done.stdout)
    assert told["gcs_server"] == ["gcs"]
    assert told["raylet"][-1] == "--dashboard_agent_listen_port=12345"
    help = subprocess.run([told["raylet"][0], "--help"], capture_output=True, text=True, timeout=60)
    assert "-dashboard_agent_listen_port (" in help.stdout


class Raylet:
    """In the place of Ray's question for a raylet, which registers after some questions."""

    def __init__(self, needs: int) -> None:
        self.needs = needs

    def __call__(self, gcs_address: str, node_id: str) -> str:
        self.needs -= 1
        if self.needs >= 0:
            raise RuntimeError(f"no node {node_id} at {gcs_address}")
        return "registered"


def test_a_raylet_that_takes_long_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "get_node", Raylet(3))
    monkeypatch.setattr(head, "_PAUSE_S", 0.001)
    head.wait_for_raylet()
    assert services.get_node("10.0.0.1:1", "n1") == "registered"


def test_one_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "get_node", Raylet(10_000))
    monkeypatch.setattr(head, "RAYLET_S", 0.0)
    monkeypatch.setattr(head, "_PAUSE_S", 0.001)
    head.wait_for_raylet()
    with pytest.raises(RuntimeError, match="no node n1 at"):
        services.get_node("10.0.0.1:1", "n1")
