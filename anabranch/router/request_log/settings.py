"""Settings of the request log, read from the engine's environment.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_REQUEST_LOG_DIR | folder of the files, one below it a graph | requests in the home |
| ANABRANCH_REQUEST_LOG_SIZE | size of a graph's files; the oldest are deleted | 1GiB |
| ANABRANCH_KAFKA_CONFIG | file of properties for librdkafka, a ``name=value`` a line | none |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from anabranch.environment import Environment
from anabranch.specs.units import read_bytes

SIZE = 2**30


@dataclass(frozen=True)
class LogSettings:
    """Settings of the request logs of one engine."""

    folder: Path
    size: int = SIZE
    kafka: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read ``env``; EngineError names a variable that is not what it must be."""
        variables = Environment(env)
        folder = variables.home / "requests"
        return cls(
            variables.read("ANABRANCH_REQUEST_LOG_DIR", Path, folder).absolute(),
            int(read_bytes(variables, "ANABRANCH_REQUEST_LOG_SIZE", SIZE, "1MiB")),
            variables.read("ANABRANCH_KAFKA_CONFIG", _properties, {}),
        )


def _properties(path: str) -> dict[str, str]:
    """Read a file of properties; lines that are empty or start with # say nothing."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path!r} cannot be read: {error}") from None
    found = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            # The line may hold a password, so it is not shown.
            raise ValueError(f"{path}:{number} is not name=value")
        found[name.strip()] = value.strip()
    return found
