"""An engine whose store is PostgreSQL: the same as with SQLite, through every death."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.postgres import running_server
from tests.e2e.conftest import Given, node, spec, value
from tests.engines import Engine, actor_processes
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.nightly]

CODE = """
class Times:
    def __init__(self, by: float) -> None:
        self.by = by

    def transform(self, x):
        return (x * self.by).astype("float32")
"""


@pytest.fixture
def on_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    with running_server() as server, server.database() as url:
        monkeypatch.setenv("ANABRANCH_STORE", url)
        one = Engine(tmp_path / "home")
        try:
            one.up()
            yield one
        finally:
            one.down()


def test_traffic_survives_the_controller_and_the_engine(
    on_postgres: Engine, tmp_path: Path
) -> None:
    given = Given(on_postgres, tmp_path)
    name = given.deployed(spec("kept", times=node("Times", args={"by": 2.0})), CODE)
    given.beside(spec("kept", times=node("Times", args={"by": 3.0})), CODE, "--canary", "0")
    on_postgres.traffic(name, routers=1, weights={1: 0, 2: 7})
    (controller,) = actor_processes(on_postgres, "Controller")
    os.kill(controller.pid, signal.SIGKILL)
    until(lambda: on_postgres.api("GET", f"/graphs/{name}").status_code == 200)
    assert value(on_postgres.infer(name)) == [3, 6]
    on_postgres.down()
    on_postgres.up()
    weights = {one["revision"]: one["weight"] for one in on_postgres.graph(name)["arms"]}
    assert weights == {1: 0, 2: 7}
    assert value(on_postgres.infer(name)) == [3, 6]
    assert not (on_postgres.home / "store.db").exists()
