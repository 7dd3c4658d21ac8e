"""Whether a gateway answers, and whether it goes on to.

HAProxy takes each change as a new process. The one before it goes on taking connections until it
has heard of that: some 10 ms, and 0.6 s where the signal gets lost and Serve sends it again. So one
answer of what is new does not tell that the next will be; several on new connections do.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from anabranch.errors import EngineError

_PAUSE_S = 0.05
_IN_A_ROW = 5
_BETWEEN_S = 0.02


def wait_live(url: str, timeout: float, check: Callable[[], None] = lambda: None) -> None:
    """Wait until the gateway at ``url`` says that it lives.

    ``check`` runs between tries and may raise to give up. Raises EngineError after ``timeout``
    seconds.
    """
    deadline = time.monotonic() + timeout
    anew = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=url, timeout=5.0, trust_env=False, limits=anew) as client:
        while not holds(lambda: _is_live(client)):
            check()
            if time.monotonic() > deadline:
                raise EngineError(f"the gateway does not answer at {url}/v2/health/live")
            time.sleep(_PAUSE_S)


def holds(what: Callable[[], bool]) -> bool:
    """Whether something that a request on a new connection tells holds several times in a row."""
    for _ in range(_IN_A_ROW):
        if not what():
            return False
        time.sleep(_BETWEEN_S)
    return True


def _is_live(client: httpx.Client) -> bool:
    """One try."""
    try:
        return client.get("/v2/health/live").status_code == 200
    except httpx.HTTPError:
        return False
