"""What is said of a home without an engine; the end-to-end tests examine engines."""

import os
import socket
import time
from datetime import timedelta
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.control.engine.doctor import (
    Diagnosis,
    _asked,
    _certificate,
    _helpers,
    _kept,
    examine,
    ill,
)
from anabranch.control.engine.supervision.helpers import Helper
from anabranch.control.settings.tls import in_force
from anabranch.errors import EngineError
from anabranch.serve.edge.tls.certificates import load
from tests.certificates import Authority
from tests.clock import Clock
from tests.control.stores import new_store


@pytest.mark.parametrize(("mode", "remedies"), [(0o700, 0), (0o755, 1)])
def test_a_home_that_others_may_read_is_ill(tmp_path: Path, mode: int, remedies: int) -> None:
    tmp_path.chmod(mode)
    found = {one.part: one for one in examine(tmp_path)}
    assert str(tmp_path) in found["home"].state
    assert [one.remedy for one in ill([found["home"]])] == [f"chmod 700 {tmp_path}"] * remedies
    assert found["engine"].remedy == "anabranch up"


def test_the_store_of_an_engine_that_does_not_run_is_examined(tmp_path: Path) -> None:
    def stores() -> list[Diagnosis]:
        return [one for one in examine(tmp_path) if one.part == "store"]

    assert stores() == []
    file = tmp_path / "store.db"
    new_store(f"sqlite:///{file}").close()
    assert stores() == [Diagnosis("store", f"{file} is sound")]
    os.truncate(file, 4096)
    (cut,) = stores()
    assert cut.state.startswith(f"the store {file} is damaged: ")
    assert cut.remedy == "try again, else anabranch restore FILE --replace"


@pytest.mark.parametrize(("joined", "remedy"), [(False, "anabranch up"), (True, "anabranch join")])
def test_a_machine_that_was_given_up_says_why(tmp_path: Path, joined: bool, remedy: str) -> None:
    problem = "the machine cannot join again: it was drained"
    runtime = str(tmp_path / "runtime")
    write_state(
        tmp_path, EngineState("m1", "", "", "", "", runtime, 1, True, problem, joined=joined)
    )
    (found,) = [one for one in examine(tmp_path) if one.part == "supervisor"]
    assert (found.state, found.remedy) == (problem, remedy)


@pytest.mark.parametrize(
    ("times", "error", "said"),
    [
        (2, TimeoutError(), None),
        (10**6, TimeoutError(), "TimeoutError"),
        (10**6, EngineError("UNAUTHENTICATED: another\n token"), "UNAUTHENTICATED: another token"),
    ],
)
def test_a_helper_that_a_busy_machine_holds_up_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, error: Exception, said: str | None
) -> None:
    left = iter(range(times))
    clock = Clock(0.0)

    def ask() -> None:
        if next(left, None) is not None:
            raise error

    def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(time, "sleep", sleep)
    found = _asked(Helper("GCS", ask, "gcs_server", 20.0), tmp_path)
    if said is None:
        assert found == Diagnosis("GCS", "answers")
        return
    assert found.state == f"does not answer ({said})"
    assert found.remedy.startswith("wait 20 s for its supervisor, else anabranch down")
    assert clock.now == pytest.approx(5.0, abs=0.3)


def test_a_ray_of_somebody_else_is_only_asked_whether_it_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        state = EngineState("id", "", "", "", address, "", attached=True)
        (well,) = _helpers(tmp_path, state)
    assert not ill([well])
    assert well.state == f"answers at {address}; the engine has not started it"
    (gone,) = _helpers(tmp_path, state)
    assert gone.state.startswith(f"does not answer at {address}: ")
    assert gone.remedy.startswith("start it again at this address")


def test_a_certificate_is_well_until_it_ends_soon_or_is_not_replaced(tmp_path: Path) -> None:
    copies, authority = in_force(tmp_path), Authority(tmp_path)
    state = EngineState("id", "", "", "", "", "")
    assert list(_certificate(tmp_path, state)) == []
    state = EngineState("id", "", "", "", "", "", trusted=str(copies.trusted))
    (missing,) = ill(list(_certificate(tmp_path, state)))
    assert "is missing" in missing.state
    copies.install(load(authority.issue("engine")))
    (well,) = _certificate(tmp_path, state)
    assert well.state.startswith("ends on 2")
    assert not ill([well])
    copies.install(load(authority.issue("engine", ends=timedelta(days=3))))
    copies.note("the key does not fit")
    both = ill(list(_certificate(tmp_path, state)))
    assert ["in 2 days" in both[0].state, "does not fit" in both[1].state] == [True, True]


def test_what_is_kept_is_told_with_the_bounds_that_there_are() -> None:
    day = 86_400.0
    events = {
        "what": "events", "count": 1200, "bytes": None, "oldest": time.time() - 2.5 * day,
        "most": 100_000, "most_bytes": None, "age": 90 * day,
    }  # fmt: skip
    assert _kept(events).state == (
        "1,200 of 100,000, the oldest 2.5 days old, kept for 90.0 days where nothing needs them"
    )
    bundles = {
        "what": "bundles", "count": 0, "bytes": 3 * 2**20, "oldest": None, "most": None,
        "most_bytes": 2**30, "age": None,
    }  # fmt: skip
    assert _kept(bundles).state == "0, 3.0 MiB of 1,024.0"
    assert _kept(bundles | {"most_bytes": None}).state == "0, 3.0 MiB"
    assert not _kept(events).remedy
