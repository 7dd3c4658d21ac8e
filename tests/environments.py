"""Environments for libraries that cannot share one with the engine's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def environment(folder: Path, requirement: str) -> Path:
    """Make a virtual environment with one library; its Python."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "-p", sys.executable, str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [*uv, "pip", "install", "-q", "-p", str(python), requirement]
    subprocess.run(install, check=True, timeout=300)
    return python
