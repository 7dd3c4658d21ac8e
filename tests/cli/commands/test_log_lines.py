"""Log lines as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.cli.commands.log_lines import text

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
