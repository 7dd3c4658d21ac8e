"""Settings of traces, read from the environment; every process of the engine reads the same.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_TRACE_RATIO | share of the requests that are traced, 0 to 1 | 0 |
| OTEL_EXPORTER_OTLP_ENDPOINT | URL of an OpenTelemetry collector | none |
| OTEL_EXPORTER_OTLP_TRACES_ENDPOINT | the same for traces alone | none |
| OTEL_EXPORTER_OTLP_PROTOCOL | `http/protobuf` or `grpc` | http/protobuf |
| OTEL_EXPORTER_OTLP_TRACES_PROTOCOL | the same for traces alone | |
| OTEL_SERVICE_NAME | name of the engine in traces | anabranch |

OpenTelemetry's exporter reads others beside, such as OTEL_EXPORTER_OTLP_HEADERS and
OTEL_RESOURCE_ATTRIBUTES: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from anabranch.environment import Environment, number

RATIO = "ANABRANCH_TRACE_RATIO"
SERVICE = "OTEL_SERVICE_NAME"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_KNOWN = ("http/protobuf", "grpc")


@dataclass(frozen=True)
class TraceSettings:
    """The destination of traces, and the share of requests that are traced."""

    ratio: float = 0.0
    """Share of the requests that come without a trace, 0 to 1."""
    endpoint: str = ""
    """Empty where spans are not exported."""
    protocol: str = _KNOWN[0]

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read ``env``; EngineError names a variable that is not what it must be."""
        variables = Environment(env)
        return cls(
            variables.read(RATIO, number(most=1), cls.ratio, "a number from 0 to 1"),
            variables.read(
                _first(variables, _ENDPOINTS), _url, "", "a URL such as http://127.0.0.1:4318"
            ),
            variables.read(
                _first(variables, _PROTOCOLS), _protocol, cls.protocol, " or ".join(_KNOWN)
            ),
        )

    @property
    def exported(self) -> bool:
        """Whether spans are exported."""
        return bool(self.endpoint)


def _first(variables: Environment, names: tuple[str, ...]) -> str:
    """Return the first of these variables that is set; the last one if none is."""
    return next((name for name in names if variables.text(name)), names[-1])


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError
    return text


def _protocol(text: str) -> str:
    if text not in _KNOWN:
        raise ValueError
    return text
