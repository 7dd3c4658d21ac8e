"""Two tenants on one engine, one of which asks for far more than it may: it alone is refused."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import Given, node, spec
from tests.engines import BODY, Engine
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
RATE, BURST = 10, 5
MODEST = 300
"""Requests of the tenant that has no limit."""
GREEDY = 4
"""Clients of the other one, which never pause."""
FIELDS = {f"ratelimit-{field}" for field in ("limit", "remaining", "reset", "policy")}
POLICY = f"""
apiVersion: anabranch/v1
kind: AccessPolicy
limits:
  - {{caller: greedy, rate: {RATE}, burst: {BURST}}}
"""
CODE = """
class Same:
    def transform(self, x):
        return x
"""


class Tenant:
    """Asks a graph in a namespace of its own by a key of its own; counts the replies."""

    def __init__(self, engine: Engine, name: str) -> None:
        with engine.control() as control:
            self.key = str(control.create_key(name, ["invoker"], [f"{name}/*"])["key"])
        self.url = f"{engine.graph_url(f'{name}/model')}/infer"
        self.seen: Counter[int] = Counter()
        self._lock = threading.Lock()
        self.waits: list[str | None] = []
        """``Retry-After`` of each refusal."""
        self.missing: set[str] = set()
        """Headers that a refusal should have and has not."""

    def ask(self, client: httpx.Client) -> None:
        headers = {"authorization": f"Bearer {self.key}"}
        reply = client.post(self.url, json=BODY, headers=headers)
        with self._lock:
            self.seen[reply.status_code] += 1
        if reply.status_code == 429:
            self.waits.append(reply.headers.get("retry-after"))
            self.missing |= FIELDS - reply.headers.keys()


@pytest.fixture
def tenants(engine: Engine, given: Given) -> Iterator[tuple[Tenant, Tenant]]:
    for name in ("greedy", "modest"):
        given.deployed(spec(f"{name}/model", same=node("Same")), CODE)
    found = Tenant(engine, "greedy"), Tenant(engine, "modest")
    with engine.control() as control:
        control.set_access(POLICY)
    yield found
    with engine.control() as control:
        control.set_access("")
        for name in ("greedy", "modest"):
            control.revoke_key(name)


def test_only_the_greedy_one_is_refused(tenants: tuple[Tenant, Tenant]) -> None:
    greedy, modest = tenants
    over = threading.Event()

    def asks_on() -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                greedy.ask(client)

    with httpx.Client(timeout=60) as client:
        modest.ask(client)
        greedy.ask(client)
        until(lambda: greedy.ask(client) or 429 in greedy.seen)  # the limit is in force
        greedy.seen.clear()
        began = time.monotonic()
        clients = [threading.Thread(target=asks_on) for _ in range(GREEDY)]
        for one in clients:
            one.start()
        try:
            for _ in range(MODEST):
                modest.ask(client)
            until(lambda: greedy.seen[429] >= 10 * greedy.seen[200])
        finally:
            over.set()
            for one in clients:
                one.join()
        elapsed = time.monotonic() - began
    assert modest.seen == {200: MODEST + 1}
    assert set(greedy.seen) == {200, 429}
    assert greedy.seen[200] <= BURST + RATE * elapsed + 1
    assert greedy.missing == set()
    assert all(wait is not None and int(wait) >= 1 for wait in greedy.waits)
