"""What a home remembers of its engine."""

from dataclasses import replace
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import (
    FILE,
    EngineState,
    clear_state,
    read_state,
    require_state,
    resolve_home,
    write_state,
)
from anabranch.control.engine import engine
from anabranch.control.nodes.options import MachineOptions
from anabranch.errors import EngineError

STATE = EngineState(
    id="an-id",
    http="http://127.0.0.1:8000",
    grpc="127.0.0.1:9000",
    dashboard="http://127.0.0.1:8265",
    address="127.0.0.1:10001",
    runtime="/nowhere/anab-x",
    pid=2**22 + 1,
    ready=True,
)


def test_a_state_survives_the_file(tmp_path):
    write_state(tmp_path, STATE)
    assert read_state(tmp_path) == STATE
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    clear_state(tmp_path)
    clear_state(tmp_path)
    assert read_state(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"id": "x"}', '{"other": 1}'])
def test_a_damaged_file_is_no_engine(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert read_state(tmp_path) is None
    with pytest.raises(EngineError, match="anabranch up"):
        require_state(tmp_path)


def test_a_dead_head_is_no_running_engine():
    assert not engine.is_running(STATE)


def test_down_clears_up_after_a_crash(tmp_path):
    write_state(tmp_path, STATE)
    assert engine.down(tmp_path) is True
    assert engine.down(tmp_path) is False
    assert read_state(tmp_path) is None


def test_down_never_removes_a_folder_that_up_did_not_make(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    write_state(tmp_path, EngineState(**{**vars(STATE), "runtime": str(precious)}))
    engine.down(tmp_path)
    assert precious.is_dir()


def test_down_of_a_home_that_is_not_there(tmp_path):
    assert engine.down(tmp_path / "none") is False


def test_the_home_comes_from_the_option_then_the_environment(monkeypatch):
    monkeypatch.setenv("ANABRANCH_HOME", "/from/environment")
    assert resolve_home("/asked/for") == Path("/asked/for")
    assert resolve_home() == Path("/from/environment")
    monkeypatch.delenv("ANABRANCH_HOME")
    assert resolve_home() == Path.home() / ".anabranch"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False), ("192.0.2.1", False)],
)
def test_hosts(host, loopback):
    assert engine.EngineOptions(http_host=host).is_loopback() is loopback


@pytest.mark.parametrize("host", ["", "::1", "example.org", "1.2.3"])
def test_other_hosts_are_refused(host):
    with pytest.raises(EngineError, match="--host"):
        engine.EngineOptions(http_host=host).host()
    with pytest.raises(EngineError, match="--dashboard-host"):
        engine.EngineOptions(dashboard_host=host).dashboard()


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("--max-body", {"max_body": "64Mi"}),
        ("--object-store", {"machine": MachineOptions(object_store="64Mi")}),
    ],
)
def test_sizes_of_unknown_units_are_refused_and_nothing_is_started(tmp_path, option, given):
    with pytest.raises(EngineError, match=option):
        engine.up(
            tmp_path,
            engine.EngineOptions(
                http_port=18_990, grpc_port=18_991, dashboard_port=18_992, **given
            ),
        )
    assert read_state(tmp_path) is None


def test_the_certificate_of_an_engine_elsewhere_is_verified(tmp_path, monkeypatch):
    monkeypatch.delenv("ANABRANCH_CA", raising=False)
    elsewhere = replace(STATE, joined=True)
    assert elsewhere.verify is False
    assert replace(elsewhere, http="https://engine:8443").verify is True
