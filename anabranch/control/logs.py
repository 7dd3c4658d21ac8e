"""The latest lines that a graph's replicas wrote: Serve's log of each, and its output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from anabranch.control.reconcile import parse_app

MAX_LINES = 10_000
_MAX_BYTES = 1 << 20
"""Most that is read of the end of one file."""
_MAX_LINE = 4096
_MARKERS = (":actor_name:", ":job_id:", ":task_name:")
"""What Ray writes into outputs for itself."""


def tail(applications: Mapping[str, Any], folder: Path, graph: str, lines: int) -> list[str]:
    """At most ``lines`` lines of each file of the graph's replicas, each with its replica's tag.

    ``applications`` are Serve's details, ``folder`` is Ray's folder of logs on this machine.
    """
    found: list[str] = []
    for tag, replica in _replicas(applications, graph):
        files = list(_files(folder, replica))
        if not files and replica.get("node_ip"):
            found.append(f"[{tag}] its log is on node {replica['node_ip']}")
        for path in files:
            found += [f"[{tag}] {line}" for line in last_lines(path, lines)]
    return found


def last_lines(path: Path, count: int) -> list[str]:
    """The last ``count`` lines of a file, of its last MiB; long lines are cut."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _MAX_BYTES))
            data = stream.read(_MAX_BYTES)
    except OSError:
        return []
    lines = data.decode("utf-8", "replace").splitlines()
    if size > _MAX_BYTES:
        lines = lines[1:]  # begins somewhere inside a line
    lines = [line for line in lines if not line.startswith(_MARKERS)]
    return [line[:_MAX_LINE] for line in lines[-count:]] if count > 0 else []


def _replicas(
    applications: Mapping[str, Any], graph: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The graph's replicas, the dead ones too, with a tag such as ``digits.r3/net#k2j4``."""
    for name in sorted(applications):
        parsed = parse_app(name)
        if parsed is None or parsed[0] != graph:
            continue
        deployments = applications[name]["deployments"]
        for deployment in sorted(deployments):
            for replica in _every(deployments[deployment]):
                yield f"{name}/{deployment}#{str(replica['replica_id'])[:8]}", replica


def _every(deployment: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    seen: dict[str, Mapping[str, Any]] = {}
    for replica in [*(deployment.get("recent_dead_replicas") or ()), *deployment["replicas"]]:
        seen[str(replica["replica_id"])] = replica
    return seen.values()


def _files(folder: Path, replica: Mapping[str, Any]) -> Iterator[Path]:
    relative = str(replica.get("log_file_path") or "").lstrip("/")
    if relative and (folder / relative).is_file():
        yield folder / relative
    worker = replica.get("worker_id")
    if worker:
        yield from sorted(folder.glob(f"worker-{worker}-*.out"))
        yield from sorted(folder.glob(f"worker-{worker}-*.err"))
