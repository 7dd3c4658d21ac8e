"""Checks whether a gateway answers, and goes on to answer.

HAProxy takes each change as a new process. The one before it goes on taking connections until it
has heard of that: some 20 ms, and half a second where the signal gets lost and Serve sends it again
(seen with Ray 2.60). So one reply may differ from the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import psutil

from anabranch.errors import EngineError

_PAUSE_S = 0.05
_PROXY = "haproxy"
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
        while not holds(url, lambda: _is_live(client)):
            check()
            if time.monotonic() > deadline:
                raise EngineError(f"the gateway does not answer at {url}/v2/health/live")
            time.sleep(_PAUSE_S)


def holds(url: str, what: Callable[[], bool]) -> bool:
    """Return whether what a request to ``url`` on a new connection tells is so, and stays so.

    On the proxy's machine that is certain once a single process takes connections; elsewhere the
    same answer several times in a row has to do.
    """
    return sum(1 for _ in _proxies(urlsplit(url).port)) <= 1 and _is_steady(what)


def _is_steady(what: Callable[[], bool]) -> bool:
    for _ in range(_IN_A_ROW):
        if not what():
            return False
        time.sleep(_BETWEEN_S)
    return True


def _proxies(port: int | None) -> Iterator[psutil.Process]:
    """Processes of HAProxy on this machine that take connections at a port."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] != _PROXY:
            continue
        try:
            found = process.net_connections("tcp")
        except psutil.Error:  # it is gone, or not ours
            continue
        if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in found):
            yield process


def _is_live(client: httpx.Client) -> bool:
    """One try."""
    try:
        return client.get("/v2/health/live").status_code == 200
    except httpx.HTTPError:
        return False
