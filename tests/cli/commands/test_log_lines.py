"""Log lines as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.cli.commands.log_lines import nothing, text
from tests.cli.conftest import Served

LINE: dict[str, Any] = {
    "time": "2026-01-01T10:20:30.123456+00:00", "level": "INFO", "replica": "shop.r1/net#k2",
    "message": "hello",
}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "2026-01-01 10:20:30.123 INFO    [shop.r1/net#k2] hello"),
        (
            {"node": "net", "request_id": "7f"},
            "2026-01-01 10:20:30.123 INFO    [shop.r1/net#k2] net: hello (request 7f)",
        ),
        ({"machine": "gpu-2"}, "2026-01-01 10:20:30.123 INFO    [gpu-2 shop.r1/net#k2] hello"),
        ({"time": "", "level": "", "machine": "gpu-2", "replica": ""}, "[gpu-2] hello"),
    ],
)
def test_a_line_says_when_and_where(more: dict[str, str], expected: str) -> None:
    assert text(LINE | more) == expected


def test_filters_that_let_no_line_through_are_named() -> None:
    wanted = {"node": "nte", "revision": 3, "request_id": None, "machine": None}
    assert nothing("shop", wanted) == "there are no lines of graph shop, node nte, revision 3"
    assert (
        nothing("shop", {"request_id": "7f"}) == "there are no lines of graph shop, request-id 7f"
    )


def test_a_command_without_lines_says_so(engine: Served) -> None:
    engine.graphs["GET /control/v1/graphs/digits/logs"] = {"lines": [], "cursor": ""}
    done = engine.run("logs", "digits", "--node", "nte")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "there are no lines of graph digits, node nte" in done.stderr
