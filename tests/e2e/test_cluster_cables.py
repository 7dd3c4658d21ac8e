"""Two machines without Ray, between which the cable is pulled amid calls of every kind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from anabranch.control.access.authority import (
    certificates_environment,
    cluster_certificates,
    make_certificates,
    write_certificates,
)
from tests.machines import HOME, Machine, Network

pytestmark = [pytest.mark.e2e]


def join(machine: Machine, engine: Path) -> dict[str, str]:
    """Give a machine the certificates of an engine; the variables of its processes."""
    write_certificates(machine.path(HOME), cluster_certificates(engine))
    return certificates_environment(Path(HOME))


def started(machine: Machine, *words: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    command = machine.command("python", "-m", *words, env=env)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def told(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"it ended with {process.wait()}"
    return json.loads(line)


def test_what_was_under_way_to_a_machine_that_is_cut_off_ends_while_it_is_and_is_answered_again(
    tmp_path: Path,
) -> None:
    make_certificates(tmp_path)
    with Network() as network:
        near, far = network.machine("near"), network.machine("far")
        with started(far, "tests.e2e.far_process", env=join(far, tmp_path)) as serving:
            assert serving.stdout is not None
            assert serving.stdout.readline() == b"listens\n"
            env = join(near, tmp_path)
            with started(near, "tests.e2e.near_process", far.address, env=env) as calling:
                first = told(calling)
                assert first == {
                    "stream": [1], "gateway": 200, "front": "OK", "again": 200, "once": 200
                }  # fmt: skip
                assert told(calling) == "waiting"
                far.cut()
                assert told(calling) == {
                    "stream": "lost",
                    "gateway": 503,
                    "front": "UNAVAILABLE",
                    "again": 200,
                    "once": 502,
                }
                far.mend()
                assert told(calling) == first
                assert calling.wait(30) == 0
            serving.kill()
