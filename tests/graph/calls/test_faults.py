"""Errors of components in the log: whose code they begin in, their place, and how often."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from anabranch.errors import InvalidRequest, NodeError
from anabranch.graph.calls import guard
from anabranch.graph.calls.faults import MAX_KINDS, Faults
from anabranch.graph.calls.guard import called
from anabranch.graph.calls.interrupt import CallInterrupted
from tests.clock import Clock

HERE = Path(__file__)


def divide(by: float) -> float:
    return 1 / by


LINE = divide.__code__.co_firstlineno + 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """That of a process that has met no error yet."""
    clock = Clock()
    monkeypatch.setattr(guard, "FAULTS", Faults(clock))
    return clock


def failed(call: Callable[[], Any], node: str = "net") -> str:
    with pytest.raises(NodeError) as caught:
        called(node, call)
    return str(caught.value)


def test_the_place_is_named_to_the_caller_and_the_traceback_begins_there(
    clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(HERE.parent.parent)
    place = f"calls/test_faults.py:{LINE}"
    text = failed(lambda: divide(0))
    assert text == f"node 'net' failed: ZeroDivisionError: division by zero ({place})"
    (record,) = caplog.records
    assert record.getMessage() == f"node 'net' raised ZeroDivisionError at {place}"
    assert (record.__dict__["node"], record.__dict__["place"]) == ("net", place)
    told = logging.Formatter().format(record)
    assert "return 1 / by" in told and "guard.py" not in told
    monkeypatch.chdir(tmp_path)
    assert failed(lambda: divide(0)).endswith(f"(test_faults.py:{LINE})")


def test_the_innermost_line_of_the_component_counts_and_not_the_library_s(clock: Clock) -> None:
    line = test_the_innermost_line_of_the_component_counts_and_not_the_library_s.__code__
    text = failed(lambda: json.loads("{"))
    assert text.endswith(f"test_faults.py:{line.co_firstlineno + 2})")


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_a_line_of_another_environment_s_library_is_no_place(clock: Clock, folder: str) -> None:
    scope: dict[str, Any] = {}
    code = "def refuse():\n    raise ValueError('no')"
    exec(compile(code, f"/env/lib/{folder}/library/core.py", "exec"), scope)

    def call() -> None:
        scope["refuse"]()

    assert failed(call).endswith(f"test_faults.py:{call.__code__.co_firstlineno + 1})")


def test_a_working_folder_that_is_gone_hides_no_error(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert failed(lambda: divide(0)).endswith(f"(test_faults.py:{LINE})")


def test_an_error_of_the_engine_s_own_components_has_no_place(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    code = compile("def refuse():\n    raise ValueError('no')", guard.__file__, "exec")
    scope: dict[str, Any] = {}
    exec(code, scope)
    assert failed(scope["refuse"]) == "node 'net' failed: ValueError: no"
    assert caplog.records[0].exc_info is not None
    assert "raise" in logging.Formatter().format(caplog.records[0])


def test_equal_faults_are_logged_once_a_second_and_counted(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        failed(lambda: divide(0))
    failed(lambda: divide(0), "other")
    failed(lambda: divide("x"))  # type: ignore[arg-type]
    assert len(caplog.records) == 3
    clock.now += 1.0
    for _ in range(2):
        failed(lambda: divide(0))
    assert len(caplog.records) == 4
    assert caplog.records[-1].getMessage().endswith("(4 more like this before)")
    clock.now += 1.0
    failed(lambda: divide(0))
    assert caplog.records[-1].getMessage().endswith("(1 more like this before)")


def test_the_memory_of_faults_is_bounded(clock: Clock) -> None:
    faults = Faults(clock)
    for number in range(3 * MAX_KINDS):
        faults.note(f"n{number}", ValueError())
    assert len(faults._kinds) == MAX_KINDS


def test_threads_that_meet_many_faults_at_once(clock: Clock) -> None:
    faults = Faults(clock)

    def fail(thread: int) -> None:
        for number in range(10 * MAX_KINDS):
            faults.note(f"n{thread}-{number}", ValueError())

    pause = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fail, range(8)))
    finally:
        sys.setswitchinterval(pause)
    assert len(faults._kinds) == MAX_KINDS


@pytest.mark.parametrize("error", [InvalidRequest("yours"), CallInterrupted()])
def test_mistakes_of_the_caller_and_calls_that_were_given_up_are_not_logged(
    clock: Clock, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises((InvalidRequest, NodeError)):
        called("net", fail)
    assert caplog.records == []


def test_without_a_handler_nothing_is_written(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    failed(lambda: divide(0))
    assert capsys.readouterr().err == ""
