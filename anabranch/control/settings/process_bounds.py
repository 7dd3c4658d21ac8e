"""Bounds on the processes of graphs, read from the environment; the supervisor holds them.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_REPLICA_MEMORY | most memory of a process, unless the spec says | half of the machine |
| ANABRANCH_REPLICA_THREADS | most threads of a process of a graph | 4096 |
| ANABRANCH_REPLICA_PROCESSES | most processes that one of a graph starts, at a time | 256 |
| ANABRANCH_REPLICA_FILES | most files and sockets that a process of a graph has open | 16384 |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from anabranch.environment import Environment, number
from anabranch.specs.units import read_bytes

_LEAST_MEMORY = "64MiB"
_LEAST_THREADS = 64
_LEAST_FILES = 256


def machine_memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True)
class ProcessBounds:
    """Most bytes of memory, threads, processes below, and open files of a process of a graph."""

    memory: int = field(default_factory=lambda: machine_memory() // 2)
    threads: int = 4096
    processes: int = 256
    files: int = 16_384

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read ``env``; EngineError names a variable that is not what it must be."""
        variables = Environment(env)

        def whole(name: str, least: int, default: int) -> int:
            expected = f"a number of at least {least}"
            return int(variables.read(name, number(least), float(default), expected))

        half = machine_memory() // 2
        return cls(
            int(read_bytes(variables, "ANABRANCH_REPLICA_MEMORY", half, _LEAST_MEMORY)),
            whole("ANABRANCH_REPLICA_THREADS", _LEAST_THREADS, cls.threads),
            whole("ANABRANCH_REPLICA_PROCESSES", 1, cls.processes),
            whole("ANABRANCH_REPLICA_FILES", _LEAST_FILES, cls.files),
        )
