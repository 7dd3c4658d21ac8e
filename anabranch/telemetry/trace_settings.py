"""What is said in the environment about traces; every process of the engine reads the same.

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

from anabranch.errors import EngineError

RATIO = "ANABRANCH_TRACE_RATIO"
SERVICE = "OTEL_SERVICE_NAME"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_KNOWN = ("http/protobuf", "grpc")


@dataclass(frozen=True)
class TraceSettings:
    """Where traces go, and how many there are."""

    ratio: float = 0.0
    """Share of the requests that come without a trace, 0 to 1."""
    endpoint: str = ""
    """Empty where spans are not exported."""
    protocol: str = _KNOWN[0]

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read ``env``; EngineError names a variable that is not what it must be."""
        return cls(_ratio(env), _endpoint(env), _protocol(env))

    @property
    def exported(self) -> bool:
        """Whether spans are exported."""
        return bool(self.endpoint)


def _ratio(env: Mapping[str, str]) -> float:
    text = env.get(RATIO)
    try:
        ratio = float(text) if text else 0.0
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise EngineError(f"{RATIO}={text!r} is not a number from 0 to 1")
    return ratio


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """The first variable that is set, and what it is; the last one and nothing if none is."""
    return next(((name, text) for name in names if (text := env.get(name, ""))), (names[-1], ""))


def _endpoint(env: Mapping[str, str]) -> str:
    name, text = _first(env, _ENDPOINTS)
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise EngineError(f"{name}={text!r} is not a URL such as http://127.0.0.1:4318")
    return text


def _protocol(env: Mapping[str, str]) -> str:
    name, text = _first(env, _PROTOCOLS)
    if text and text not in _KNOWN:
        raise EngineError(f"{name}={text!r} is none of {', '.join(_KNOWN)}")
    return text or _KNOWN[0]
