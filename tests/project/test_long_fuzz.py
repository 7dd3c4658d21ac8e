"""The fuzzing tests once more, with as many cases as a release is tested with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = os.environ.get("ANABRANCH_LONG_FUZZ", "10000")
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_fuzz.py"))

pytestmark = [pytest.mark.nightly, pytest.mark.slow]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_many_cases(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
        cwd=ROOT, env={**os.environ, "ANABRANCH_FUZZ": CASES}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:]
    assert " passed" in done.stdout.splitlines()[-1]
