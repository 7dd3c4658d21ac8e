"""Protocols of all graphs, by the environment of an engine."""

from __future__ import annotations

import pytest

from anabranch.errors import EngineError
from anabranch.router.http.doors.engine_protocols import VARIABLE, engine_protocols


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("none", ()),
        ("json", ("json",)),
        (" v1 ,json,, v1", ("v1", "json")),
        ("seldon,v1,openai,json,document", ("seldon", "v1", "openai", "json", "document")),
    ],
)
def test_protocols_by_comma(text: str, expected: tuple[str, ...]) -> None:
    assert engine_protocols({VARIABLE: text}) == expected
    assert engine_protocols({}) == ()


@pytest.mark.parametrize("text", ["all", "v2", "json;v1", "none,json", "JSON"])
def test_what_is_no_protocol_is_named(text: str) -> None:
    with pytest.raises(EngineError, match=f"{VARIABLE}='{text}' is not `none`, or protocols out"):
        engine_protocols({VARIABLE: text})
