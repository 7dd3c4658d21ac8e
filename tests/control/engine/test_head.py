"""What the head process changes in Ray, and whether Ray's own programs take it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("ray")

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
