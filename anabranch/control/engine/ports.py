"""Ports of one engine: a block of its own, so that two engines on one machine never meet.

A block is 1,000 ports below the range that systems hand out to outgoing connections. Whoever
holds its first port holds the block: the guard is a bound socket that the head process inherits,
and the operating system lets go of it when that process ends, however it ends.
"""

from __future__ import annotations

import socket
import zlib
from dataclasses import dataclass

import psutil

from anabranch.client.connection.engine_state import BLOCK_SIZE
from anabranch.errors import EngineError

BLOCKS = range(10_000, 32_000, BLOCK_SIZE)
"""First port of every block."""
FIXED = (
    "gcs",
    "object_manager",
    "node_manager",
    "agent_http",
    "agent_grpc",
    "runtime_env_agent",
    "metrics",
    "dashboard_metrics",
)
"""Names of the listeners that need exactly one port each, from the first 50 of a block."""
_FEWEST_WORKERS = 200


@dataclass(frozen=True)
class PortBlock:
    """The ports of one engine."""

    guard: socket.socket
    fixed: dict[str, int]
    workers: tuple[int, ...]


def claim(seed: str) -> PortBlock:
    """Claim a block, starting the search at a place that ``seed`` decides.

    Raises EngineError when no block has enough free ports.
    """
    for base in _bases(seed):
        block = _claim(base)
        if block is not None:
            return block
    raise EngineError(
        f"no block of {BLOCKS.step} ports is free between {BLOCKS.start} and {BLOCKS.stop}:"
        " stop another engine first"
    )


def first_gcs_port(seed: str) -> int:
    """Return the port of Ray's GCS where nobody else has claimed a block, as in a container."""
    return _bases(seed)[0] + 1


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen on ``host:port`` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_own(option: str, host: str) -> None:
    """Raise EngineError unless ``host`` is an IPv4 address of this machine, or 0.0.0.0 for all."""
    if host == "0.0.0.0" or is_free(host, 0):
        return
    own = sorted(
        {
            address.address
            for addresses in psutil.net_if_addrs().values()
            for address in addresses
            if address.family == socket.AF_INET
        }
    )
    raise EngineError(
        f"{option} is {host}, which is no address of this machine; it has {', '.join(own)}; "
        "0.0.0.0 stands for all"
    )


def require_free(host: str, wanted: dict[str, int]) -> None:
    """Raise EngineError unless every port of ``wanted``, option: port, is free and asked once."""
    for option, port in wanted.items():
        twins = [other for other, same in wanted.items() if same == port and other != option]
        if twins:
            raise EngineError(f"{option} and {twins[0]} are both {port}: choose two ports")
        if not is_free(host, port):
            raise EngineError(
                f"port {port} on {host} is in use: choose another with {option},"
                " or stop what listens there"
            )


def _bases(seed: str) -> list[int]:
    """Return the first ports of all blocks, in the order in which they are tried."""
    start = zlib.crc32(seed.encode()) % len(BLOCKS)
    return [*BLOCKS[start:], *BLOCKS[:start]]


def _claim(base: int) -> PortBlock | None:
    guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        guard.bind(("127.0.0.1", base))
    except OSError:
        guard.close()
        return None
    singles = [port for port in range(base + 1, base + 50) if is_free("0.0.0.0", port)]
    workers = tuple(port for port in range(base + 50, base + 1_000) if is_free("0.0.0.0", port))
    if len(singles) < len(FIXED) or len(workers) < _FEWEST_WORKERS:
        guard.close()
        return None
    fixed = dict(zip(FIXED, singles, strict=False))
    return PortBlock(guard, fixed, workers)
