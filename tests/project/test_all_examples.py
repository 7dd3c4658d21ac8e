"""The property tests once more, with all their examples, as a release is tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import ALL

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PARTS = sorted(
    {
        file.relative_to(TESTS).parts[0]
        for file in TESTS.rglob("test_*.py")
        if "\n@given(" in file.read_text()
    }
)

pytestmark = [pytest.mark.nightly, pytest.mark.slow]


@pytest.mark.parametrize("part", PARTS)
def test_all_examples(part: str) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            "-m", "hypothesis and not e2e and not nightly", f"tests/{part}",
        ],
        cwd=ROOT, env={**os.environ, ALL: "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:]
    assert " passed" in done.stdout.splitlines()[-1]
