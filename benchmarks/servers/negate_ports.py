"""Where the scripts for ``benchmarks.payloads`` answer over gRPC. Imported by every peer."""

from __future__ import annotations

from pathlib import Path

GRPC_PORT = "grpc_port"
"""File in a contender's folder that holds the port."""


def noted(folder: Path, port: int) -> int:
    """Write ``port`` down, and return it."""
    (folder / GRPC_PORT).write_text(str(port))
    return port
