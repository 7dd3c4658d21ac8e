"""Hostile specs give typed errors, quickly, in little memory, and in few words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.specs.bombs import BOMBS

PROGRAM = Path(__file__).with_name("bombs.py")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """What became of every bomb, each under limits that the system enforces."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs the memory limits of Linux")
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-80:] + done.stderr[-200:]
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", BOMBS)
def test_is_refused_within_a_second_and_100_mib(name: str, outcomes: dict[str, str]) -> None:
    assert outcomes[name] == "refused"
