"""Lines of the log, and what they say of where they come from."""

from __future__ import annotations

import io
import json
import logging
import sys
from contextvars import Context as Variables
from typing import Any

import pytest

from anabranch import masking
from anabranch.components.contract import Context
from anabranch.telemetry.logs import MAX_TEXT, NODE, REQUESTS, JsonFormatter, Printed, Stamp
from anabranch.telemetry.trace import Trace

TRACE = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


class Lines:
    """A logger of its own, and the lines that come of it."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(JsonFormatter())
        handler.addFilter(Stamp("digits", "3"))
        self.logger = logging.Logger("test-lines", logging.INFO)
        self.logger.addHandler(handler)

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_a_line_says_what_it_speaks_of(lines: Lines) -> None:
    def work() -> None:
        REQUESTS.set((Context("seven", trace=TRACE),))
        NODE.set("forest")
        lines.logger.warning("%d leaves", 5, extra={"season": "autumn", "_own": 1})

    Variables().run(work)
    (line,) = lines.all
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "test-lines",
        "message": "5 leaves",
        "graph": "digits",
        "revision": "3",
        "node": "forest",
        "request_id": "seven",
        "trace_id": TRACE.trace_id,
        "season": "autumn",
    }


def test_what_is_not_known_is_left_out(lines: Lines) -> None:
    Variables().run(lines.logger.info, "ready")
    assert set(lines.all[0]) == {"time", "level", "logger", "message", "graph", "revision"}


def test_a_batch_names_its_requests(lines: Lines) -> None:
    def work() -> None:
        REQUESTS.set((Context("a"), Context("b")))
        lines.logger.info("both")

    Variables().run(work)
    assert lines.all[0]["request_ids"] == ["a", "b"]


def test_errors_come_with_their_traceback(lines: Lines) -> None:
    try:
        raise ValueError("no more apples")
    except ValueError:
        lines.logger.exception("it broke")
    told = lines.all[0]["exception"]
    assert told.startswith("Traceback") and told.endswith("ValueError: no more apples")


@pytest.mark.parametrize(
    "extra",
    [object(), {1: {2}}, float("nan"), "\ud800"],
    ids=["object", "set", "nan", "surrogate"],
)
def test_whatever_is_logged_is_one_line_of_json(lines: Lines, extra: Any) -> None:
    lines.logger.info("two\nlines \ud800", extra={"what": extra})
    assert lines.all[0]["message"].startswith("two\nlines ")


def test_long_texts_are_cut(lines: Lines) -> None:
    lines.logger.info("x" * 100_000)
    assert len(lines.all[0]["message"]) == MAX_TEXT + 1


def test_what_is_printed_is_logged_line_by_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    original = sys.stdout
    monkeypatch.setattr(sys, "stdout", Printed(original))
    print("a", 1, end="")
    print(" and b\n\nc")
    print("rest", end="", flush=True)
    monkeypatch.setattr(sys, "stdout", original)
    assert [record.getMessage() for record in caplog.records] == ["a 1 and b", "c", "rest"]
    assert {record.name for record in caplog.records} == {"stdout"}


def test_a_long_line_that_is_not_ended_is_not_cut_within_a_secret(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "_hidden", ())
    masking.hide("tok-1234")
    caplog.set_level(logging.INFO)
    printed = Printed(sys.stdout)
    printed.write("x" * MAX_TEXT + "tok-")
    printed.write("1234 and more\n")
    messages = [masking.masked(record.getMessage()) for record in caplog.records]
    assert messages == ["x" * MAX_TEXT, "*** and more"]
