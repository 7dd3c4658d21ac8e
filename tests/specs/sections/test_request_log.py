"""Rules over several fields of a request log."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from anabranch.specs.messages import mistakes
from anabranch.specs.models import RequestLog
from anabranch.specs.sections.request_log import request_log_rules
from tests.strategies import json_values

GRAPH: dict[str, Any] = {"inputs": {"pixels": {}}, "outputs": {"label": "net"}}


def of(**log: Any) -> list[str]:
    spec = {**GRAPH, "telemetry": {"requests": log}}
    return [f"{'.'.join(map(str, path))}: {text}" for path, text in request_log_rules(spec)]


@pytest.mark.parametrize(
    ("log", "problems"),
    [
        ({}, []),
        ({"redact": ["pixels", "label"]}, []),
        ({"redact": ["pixel", "net"]},
         ["redact.0: the graph has no input or output of this name (did you mean `pixels`?)",
          "redact.1: the graph has no input or output of this name (choose from pixels, label)"]),
        ({"redact": [1, None]}, []),
        ({"format": "parquet"}, []),
        ({"format": "parquet", "to": "file"}, []),
        ({"format": "parquet", "to": "http://sink/x"},
         ["format: is of files; remove it, or log to `file`"]),
    ],
)  # fmt: skip
def test_rules(log: dict[str, Any], problems: list[str]) -> None:
    assert of(**log) == problems


@given(json_values)
def test_anything_can_be_judged(value: Any) -> None:
    list(request_log_rules({**GRAPH, "telemetry": value}))
    list(request_log_rules({**GRAPH, "telemetry": {"requests": value}}))
    of(redact=value, to=value, format=value)


@pytest.mark.parametrize(
    "to",
    ["file", "http://sink", "https://sink:8443/a/b?c", "kafka://broker:9092/requests.v1"],
)
def test_where_a_log_may_go(to: str) -> None:
    assert mistakes(RequestLog, {"to": to}) == []


@pytest.mark.parametrize(
    "to",
    [
        "files", "/var/log", "file:///tmp/x", "ftp://sink", "kafka://broker:9092", "http://",
        "kafka://broker/a/b", "kafka://user@broker/topic", "http://user:word@sink/",
    ],
)  # fmt: skip
def test_where_it_may_not(to: str) -> None:
    ((path, text),) = mistakes(RequestLog, {"to": to})
    assert path == ("to",)
    assert text == (f"'{to}' is not `file`, an http:// or https:// URL, or kafka://host:port/topic")
