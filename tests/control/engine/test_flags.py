"""What an engine puts into the environment of its processes."""

import importlib.util
import os
import subprocess
import sys

import pytest

from anabranch.control.engine import flags, ports
from anabranch.serve.sockets import EDGE, FOLDER
from anabranch.serve.workers.environment import MARK

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks are for Linux")

TOKEN = flags.Path("/home/ray-token")


@pytest.fixture
def block():
    block = ports.claim("flags")
    block.guard.close()
    return block


def test_another_ray_in_the_environment_is_left_out(block, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "198.51.100.1:6379")
    env = flags.base_environment("some-id", block, True, TOKEN)
    assert "RAY_ADDRESS" not in env
    assert env[MARK] == "some-id"


def test_a_machine_that_is_lost_is_noticed_sooner_where_there_may_be_several(block, monkeypatch):
    timeout = "RAY_health_check_timeout_ms"
    assert timeout not in flags.base_environment("some-id", block, True, TOKEN)
    assert flags.base_environment("some-id", block, False, TOKEN)[timeout] == "5000"
    monkeypatch.setenv(timeout, "60000")
    assert flags.base_environment("some-id", block, False, TOKEN)[timeout] == "60000"


def test_the_package_is_importable_from_anywhere(block, tmp_path):
    env = flags.base_environment("some-id", block, True, TOKEN)
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import anabranch.control.engine.flags"],
        env=env,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0


def test_the_sockets_lie_in_the_private_folder(tmp_path):
    env = flags.edge_environment(tmp_path, "/some/haproxy")
    assert flags.Path(env[FOLDER]) == tmp_path
    assert env[EDGE] == "/some/haproxy"
    assert flags.edge_environment(tmp_path, None)[EDGE] == ""


def test_the_python_path_keeps_what_was_there(block, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/one")
    env = flags.base_environment("some-id", block, True, TOKEN)
    assert env["PYTHONPATH"].split(os.pathsep)[0] == "/one"


def test_every_ray_process_asks_for_this_engine_s_token_whatever_another_ray_has(
    block, monkeypatch, tmp_path
):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-another-ray")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/of/another/ray")
    env = flags.base_environment("some-id", block, True, tmp_path / "ray-token")
    assert env["RAY_AUTH_MODE"] == "token"
    assert env["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "ray-token")
    assert "RAY_AUTH_TOKEN" not in env


@linux
def test_the_zygote_is_handed_modules_that_are_there(tmp_path):
    given = flags.zygote_environment(tmp_path)[flags.MODULES].split(",")
    assert "anabranch.control.controller" in given
    assert all(importlib.util.find_spec(name) for name in given)
