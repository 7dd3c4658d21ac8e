"""Machines that cannot stand by, and why; how one waits, and what it leaves behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, read_state, write_state
from anabranch.control.engine.joining import standby
from anabranch.control.engine.joining.invitation import TOKEN_FILE, keep
from anabranch.control.engine.joining.standby import claimed, stand_by
from anabranch.control.engine.launch import EngineOptions
from anabranch.control.engine.runtime import make_runtime
from anabranch.control.nodes.shared import MARK
from anabranch.control.store.database import Database
from anabranch.control.store.lease import Lease, read_lease
from anabranch.control.store.store import Store
from anabranch.errors import EngineError
from tests.control.engine.joining.engines import TICKET
from tests.control.postgres import Server
from tests.waiting import until


@pytest.fixture
def shared(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the store of an engine that was started once; this machine knows all it needs."""
    with postgres.database() as url:
        Store.open(url).close()
        monkeypatch.setenv("ANABRANCH_STORE", url)
        monkeypatch.setenv("ANABRANCH_BUNDLE_STORE", f"file://{tmp_path}/bundles")
        (tmp_path / TOKEN_FILE).write_text("the-token\n")
        monkeypatch.setattr(standby, "PATIENCE_S", 0.2)
        monkeypatch.setattr(standby, "_PAUSE_S", 0.01)
        yield url


@pytest.fixture
def busy() -> Iterator[int]:
    """A port that something else has, so that no engine starts there."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield int(server.getsockname()[1])


def wait(home: Path, host: str = "0.0.0.0", port: int = 8000) -> list[str]:
    """Stand by until that fails; what was said, and the reason last."""
    said: list[str] = []
    options = EngineOptions(http_host=host, http_port=port)
    with pytest.raises(EngineError) as error:
        stand_by(home, options, say=said.append, warn=said.append)
    return [*said, str(error.value)]


def test_what_a_machine_lacks_is_told(
    shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wait(tmp_path, "127.0.0.1") == [
        "--standby needs --host ADDRESS, by which other machines reach this one"
    ]
    assert "which is no address of this machine" in wait(tmp_path, "192.0.2.1")[-1]
    with monkeypatch.context() as patch:
        patch.delenv("ANABRANCH_STORE")
        assert "set ANABRANCH_STORE to the engine's" in wait(tmp_path)[-1]
    with monkeypatch.context() as patch:
        patch.delenv("ANABRANCH_BUNDLE_STORE")
        assert "set ANABRANCH_BUNDLE_STORE here and on" in wait(tmp_path)[-1]
    for text, problem in (("ab_key", "holds a key"), ("", "is missing")):
        (tmp_path / TOKEN_FILE).write_text(text)
        assert f"{tmp_path / TOKEN_FILE} {problem}: put the engine's" in wait(tmp_path)[-1]


def test_a_store_that_no_engine_has_used_is_not_made(
    shared: str, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.database() as empty:
        monkeypatch.setenv("ANABRANCH_STORE", empty)
        wait(tmp_path)
        with pytest.raises(EngineError):
            Database.existing(empty)


def test_a_machine_that_has_joined_leaves_when_it_takes_over_and_keeps_the_token(
    shared: str, tmp_path: Path, busy: int
) -> None:
    """In the place of Ray a process sleeps; the engine does not start, for its port is taken."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, MARK: "m1"}
    )
    runtime = make_runtime()
    state = EngineState("m1", "http://10.0.0.1:8000", "", "", "", str(runtime), joined=True)
    write_state(tmp_path, state)
    keep(tmp_path, "the-token", TICKET)
    *said, problem = wait(tmp_path, port=busy)
    assert "without a controller" in said[0] and "takes its head's place" in said[-1]
    assert f"port {busy} on 0.0.0.0 is in use" in problem
    assert process.wait(60) and not runtime.exists()
    assert read_state(tmp_path) is None
    assert (tmp_path / TOKEN_FILE).read_text() == "the-token\n"


def test_it_waits_for_as_long_as_a_controller_acts(shared: str) -> None:
    store = Store.open(shared)
    lease = Lease(store, "the controller")
    assert lease.try_acquire()
    with claimed(shared, str):
        assert not lease.renew()
    store.close()


def test_others_see_that_an_engine_is_being_started(shared: str) -> None:
    database = Database.existing(shared)

    def beat() -> int:
        with database.write() as connection:
            return read_lease(connection)[1]

    with claimed(shared, str):
        first = beat()
        until(lambda: beat() > first + 3)
        store = Store.open(shared)
        lease = Lease(store)
        assert lease.try_acquire()
        last = beat()
        until(lambda: lease.renew() and beat() > last + 3)
    store.close()
    database.close()
