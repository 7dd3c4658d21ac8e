"""What ``up`` prints beside the engine's addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.cli.commands.engine import note_sign_in
from anabranch.control.engine.doctor import _graphs
from tests.cli.conftest import Served


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
    monkeypatch.setattr(engine.api, "_kept", list)
    engine.failure = "it has a reason"
    engine.run("deploy", engine.file())
    controller, *_, graph = _graphs(engine.home)
    assert controller.state == "answers, and knows 1 graphs"
    assert (graph.part, graph.state) == ("graph digits", "it is failed")
    assert graph.remedy == "anabranch status digits, anabranch logs digits"
