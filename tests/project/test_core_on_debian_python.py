"""The core works on Debian's own Python 3.13 with NumPy 2, without any extra.

Only the ``explain`` extra may hold NumPy or Python back, so nothing of it may be needed here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEBIAN_PYTHON = Path("/usr/bin/python3")
UNIT_TESTS = ("specs", "telemetry", "components", "explainers", "monitors", "graph", "router")
TOOLS = ("pytest", "hypothesis", "jsonschema", "openapi-spec-validator")

pytestmark = [pytest.mark.nightly, pytest.mark.slow]


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> str:
    """Run a command; its output explains a failure."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout[-8000:]}"
    return done.stdout


def why_not() -> str | None:
    """Say why Debian's Python cannot be used here; None where it can."""
    probe = "import sys, venv, ensurepip; assert sys.version_info >= (3, 13), sys.version"
    try:
        done = subprocess.run([DEBIAN_PYTHON, "-c", probe], capture_output=True, text=True)
    except OSError as error:
        return str(error)
    return done.stderr.strip().rsplit("\n", 1)[-1] or None


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the core alone, pinned by the lock, and return the interpreter that has it."""
    if reason := why_not():
        pytest.skip(f"no {DEBIAN_PYTHON} of 3.13 or newer with venv: {reason}")
    venv = tmp_path_factory.mktemp("debian") / "venv"
    run(DEBIAN_PYTHON, "-m", "venv", venv)
    interpreter = venv / "bin" / "python"
    run(
        interpreter, "-m", "pip", "install", "--quiet",
        "-c", "requirements.lock", ".", *TOOLS,
    )  # fmt: skip
    return interpreter


def test_core_installs_alone_with_numpy_2(python: Path) -> None:
    report = run(
        python,
        "-c",
        "import importlib.util as u, numpy, sys;"
        "print(sys.version_info[:2] >= (3, 13), numpy.__version__.split('.')[0],"
        "[m for m in ('torch', 'sklearn', 'onnxruntime', 'alibi') if u.find_spec(m)])",
    )
    assert report.split("\n")[0] == "True 2 []"


def test_unit_tests_pass_there(python: Path, tmp_path: Path) -> None:
    # A copy without the package beside it, so that the installed one is what is tested.
    for name in ("tests", "examples", "docs", "deploy"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("models"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    tests = [f"tests/{name}" for name in UNIT_TESTS]
    output = run(
        python, "-m", "pytest", "-q", "-m", "not e2e and not slow",
        "-p", "no:cacheprovider", *tests,
        cwd=tmp_path, HYPOTHESIS_PROFILE="quick", ANABRANCH_FUZZ="100",
    )  # fmt: skip
    assert " passed" in output.splitlines()[-1]
