"""What ``up`` prints beside the engine's addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from anabranch.cli.app import app
from anabranch.cli.commands.engine import note_sign_in
from anabranch.client.connection.engine_state import read_state
from anabranch.control.engine.doctor import _graphs
from anabranch.errors import EngineError
from tests.cli.conftest import Served
from tests.ports import free_ports


def test_the_link_to_the_console_carries_a_code_that_is_used_once(
    engine: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    note_sign_in(engine.home)
    said = capsys.readouterr().err
    before, code = said.strip().split("/console/#code=")
    assert before.startswith("log in to the console, once within ten minutes: http://")
    assert engine.send("POST", "/sessions", {"code": code})[0] == 201
    assert engine.send("POST", "/sessions", {"code": code})[0] == 404


def test_without_an_answer_there_is_no_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note_sign_in(tmp_path)
    said = capsys.readouterr().err
    assert said.startswith("warning: there is no link that logs in to the console: no")


def test_the_doctor_names_a_graph_that_does_not_answer(
    engine: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = engine.api._endpoint("GET", "/kept")
    monkeypatch.setattr(kept.endpoint.__self__, "_kept", list)  # type: ignore[attr-defined]
    engine.failure = "it has a reason"
    engine.run("deploy", engine.file())
    controller, *_, graph = _graphs(engine.home)
    assert controller.state == "answers, and knows 1 graphs"
    assert (graph.part, graph.state) == ("graph digits", "it is failed")
    assert graph.remedy == "anabranch status digits, anabranch logs digits"


def refused(*words: str) -> str:
    """What `anabranch up` says where it starts nothing."""
    done = CliRunner().invoke(app, ["up", *words])
    assert isinstance(done.exception, EngineError), done.output
    return str(done.exception)


def test_options_of_a_ray_of_its_own_are_refused_on_another_s(tmp_path: Path) -> None:
    words = "--address", "auto", "--labels", "zone=a", "--dashboard-port", "8265"
    said = refused("--home", str(tmp_path / "home"), *words)
    assert said.startswith("--dashboard-port, --labels: leave this out with --address")
    assert list(tmp_path.iterdir()) == []


def test_where_no_ray_answers_nothing_is_begun(tmp_path: Path) -> None:
    http, grpc, gcs = free_ports(3)
    ports = "--http-port", str(http), "--grpc-port", str(grpc)
    said = refused("--home", str(tmp_path), "--address", f"127.0.0.1:{gcs}", *ports)
    assert said.startswith(f"no Ray answers at 127.0.0.1:{gcs}")
    assert read_state(tmp_path) is None
