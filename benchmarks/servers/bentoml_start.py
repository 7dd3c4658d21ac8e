"""Starts a BentoML service of this folder in place of this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from script import HOST, arguments


def main(service: str) -> None:
    """Serve ``module:Service``, with one worker a service as BentoML does by default."""
    told = arguments()
    os.environ |= {"BENTOML_HOME": str(told.folder), "BENTOML_DO_NOT_TRACK": "True"}
    where = ["--host", HOST, "--port", str(told.port), "--working-dir", str(Path(__file__).parent)]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", service, *where])
