"""Features of Feast, in an environment that has the package."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.project.snippets import ROOT


@pytest.mark.nightly  # installs the package with all that it needs
def test_lookups_run_where_the_package_is_installed(tmp_path: Path) -> None:
    command = ["make", "--old-file=setup", "test-feast", f"FEAST={tmp_path / 'feast'}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "test_feast_repo.py ." in done.stdout
