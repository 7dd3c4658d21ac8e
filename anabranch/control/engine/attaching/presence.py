"""Ends when the Ray at an address has ended, which somebody else has started: ``python -m``."""

from __future__ import annotations

import sys
import time
from typing import Any

import ray
from ray import _raylet

SILENT_S = 60.0
"""Time without an answer after which Ray is taken for gone, in seconds."""
_PAUSE_S, _TIMEOUT_S = 2.0, 5.0
_RAYLET: Any = _raylet


def main(address: str) -> None:
    """Ask the GCS at an address until it is gone."""
    client = _RAYLET.GcsClient(address=address)
    answered = time.monotonic()
    while time.monotonic() - answered < SILENT_S:
        try:
            client.internal_kv_exists(b"anabranch", namespace=b"anabranch", timeout=_TIMEOUT_S)
            answered = time.monotonic()
        except ray.exceptions.RayError:
            pass
        time.sleep(_PAUSE_S)
    sys.exit(f"Ray's GCS at {address} has not answered for {SILENT_S:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1])
