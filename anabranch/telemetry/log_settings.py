"""Bounds on the logs of an engine, read from the environment; all its processes read the same.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_LOG_SIZE | size of the log of a process, and of its raw output | 16MiB |
| ANABRANCH_LOG_TOTAL | size of all logs; the oldest of ended processes go first | 1GiB |
| ANABRANCH_LOG_FILES | most files of logs; likewise | 10000 |
| ANABRANCH_LOG_AGE | how long the log of an ended process is kept | none |
| ANABRANCH_LOG_RATE | most lines a second that the components of a process log, on average | 200 |
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from anabranch.environment import Environment, number
from anabranch.specs.units import read_bytes, read_seconds

_LEAST_SIZE = "64KiB"
_LEAST_RATE = 1.0


@dataclass(frozen=True)
class LogBounds:
    """Sizes in bytes, the rate in lines a second, the age in seconds."""

    size: int = 16 * 2**20
    total: int = 2**30
    rate: float = 200.0
    files: int = 10_000
    age: float = math.inf

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read ``env``; EngineError names a variable that is not what it must be."""
        variables = Environment(env)
        return cls(
            int(read_bytes(variables, "ANABRANCH_LOG_SIZE", cls.size, _LEAST_SIZE)),
            int(read_bytes(variables, "ANABRANCH_LOG_TOTAL", cls.total, _LEAST_SIZE)),
            variables.read(
                "ANABRANCH_LOG_RATE", number(_LEAST_RATE), cls.rate, "a number of at least 1"
            ),
            int(
                variables.read(
                    "ANABRANCH_LOG_FILES", number(1), float(cls.files), "a number of at least 1"
                )
            ),
            read_seconds(variables, "ANABRANCH_LOG_AGE", cls.age),
        )
