"""An engine takes the place of another one as docs/clusters.md says, and no request fails."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import node, spec
from tests.engines import BODY, HTTP, Engine, done
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

CODE = """
class Double:
    def transform(self, x):
        return x * 2
"""
NAME = "stays"
CLIENTS = 4


class Balancer:
    """A load balancer, as far as clients see it: it says which engine they are to ask."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.answered: Counter[str] = Counter()
        self.stopping = threading.Event()
        self._lock = threading.Lock()

    def ask(self) -> None:
        """Ask without a pause, and count what comes back by the engine that was asked."""
        while not self.stopping.is_set():
            engine = self.engine
            try:
                reply = engine.infer(NAME)
                outcome = str(reply.status_code)
            except httpx.HTTPError as error:
                outcome = repr(error)
            with self._lock:
                self.answered[f"{engine.home.name} {outcome}"] += 1


@contextmanager
def asking(engine: Engine) -> Iterator[Balancer]:
    one = Balancer(engine)
    clients = [threading.Thread(target=one.ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield one
    finally:
        one.stopping.set()
        for client in clients:
            client.join()


def weights(engine: Engine) -> dict[int, float]:
    return {one["revision"]: one["weight"] for one in engine.graph(NAME)["arms"]}


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    both = Engine(tmp_path / "old"), Engine(tmp_path / "new")
    yield both
    for one in both:
        if one.state is not None:
            one.process("down")


def test_a_second_engine_takes_over_with_all_that_the_first_one_had(
    engines: tuple[Engine, Engine], tmp_path: Path
) -> None:
    old, new = engines
    old.up()
    (tmp_path / "components.py").write_text(CODE)
    path = tmp_path / "graph.yaml"
    path.write_text(json.dumps(spec(NAME, double=node("Double"))))
    done(old.process("deploy", path))
    done(old.process("deploy", path, "--force", "--canary", "30"))
    created = old.process("keys", "create", "app", "--role", "viewer", "-o", "json")
    key = json.loads(done(created).stdout)["key"]
    before = weights(old)
    with asking(old) as clients:
        done(old.process("backup", tmp_path / "b.zip"))
        done(new.process("restore", tmp_path / "b.zip"))
        new.up()
        until(lambda: HTTP.get(f"{new.url}/v2/health/ready").status_code == 200, 120)
        clients.engine = new
        until(lambda: clients.answered["new 200"] > 100, 60)
        old.down()
        until(lambda had=clients.answered["new 200"]: clients.answered["new 200"] > had + 100, 60)
    assert clients.answered.keys() == {"old 200", "new 200"}, clients.answered
    assert weights(new) == before and before[2] > 0
    assert new.infer(NAME, BODY).json()["outputs"][0]["data"] == [2.0, 4.0]
    shown = {"authorization": f"Bearer {key}"}
    me = HTTP.get(f"{new.url}/control/v1/access/me", headers=shown).json()
    assert (me["kind"], me["name"]) == ("key", "app")
