"""Waits until a gateway answers."""

from __future__ import annotations

import time

import httpx

from anabranch.errors import EngineError

_PAUSE_S = 0.05


def wait_live(url: str, timeout: float) -> None:
    """Wait until the gateway at ``url`` lives; raise EngineError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    anew = httpx.Limits(max_keepalive_connections=0)
    # Whose certificate it is does not matter: nothing is told, and one that has ended answers too.
    with httpx.Client(
        base_url=url, timeout=5.0, trust_env=False, limits=anew, verify=False
    ) as client:
        while not _is_live(client):
            if time.monotonic() > deadline:
                raise EngineError(f"the gateway does not answer at {url}/v2/health/live")
            time.sleep(_PAUSE_S)


def _is_live(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/health/live").status_code == 200
    except httpx.HTTPError:
        return False
