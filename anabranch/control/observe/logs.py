"""Log lines of a graph's replicas, read from Serve's log of each and from its raw output.

Lines come in the order of time, as objects; those that are JSON of ours have the fields that
``telemetry/logs`` lists, others, such as the last words of a process that crashed, have their text
as ``message``, and the file's last change as ``time``. Each has a ``replica`` beside.

Whoever wants to follow gets a *cursor*: how far each file was read, by the number that the file has
on its file system. A file that is rotated keeps that, so nothing is lost or told twice; a new one,
of a new replica or after a rotation, is read from its start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson

from anabranch.errors import InvalidRequest
from anabranch.router.table import parse_app

MAX_LINES = 10_000
_MAX_BYTES = 1 << 20
"""Most that is read of one file at a time."""
_UNSEEN = 200
"""Files that a cursor remembers though they were not seen the last time."""
_MAX_TEXT = 4096
"""Longest line that is no JSON of ours, in characters."""
_MARKERS = (b":actor_name:", b":job_id:", b":task_name:")
"""Prefixes of the lines that Ray writes into outputs for itself."""
_CURSOR = re.compile(r"(?:[0-9]{1,20}:[0-9]{1,20}(?:,|$))*").fullmatch

Line: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """Filter of log lines; an empty or absent field lets all lines through.

    A line that names no node belongs to that whose name its segment has.
    """

    node: str = ""
    revision: int | None = None
    request_id: str = ""

    def fits(self, line: Line, segment: str) -> bool:
        """Return whether a line is one of them."""
        if self.revision is not None and line.get("revision") != str(self.revision):
            return False
        if self.node and line.get("node", segment) != self.node:
            return False
        if not self.request_id:
            return True
        return self.request_id in (line.get("request_id"), *line.get("request_ids", ()))


class Logs(NamedTuple):
    """Lines in the order of time, and the cursor that goes on after them."""

    lines: list[Line]
    cursor: str


class LoggedReplica(NamedTuple):
    """A replica, and what names its files in Ray's folder of logs on its machine."""

    tag: str
    """Such as ``digits.r3/net#k2j4``."""
    segment: str
    revision: str
    """Empty where each line says it."""
    file: str
    worker: str
    machine: str
    """Ray's id of its machine."""
    address: str


def read(
    replicas: Iterable[LoggedReplica],
    folder: Path,
    graph: str,
    wanted: Wanted,
    most: int,
    cursor: str | None = None,
) -> Logs:
    """The last ``most`` lines of those that are wanted, or the next ones after a cursor.

    ``folder`` is Ray's folder of logs on this machine, which is that of the ``replicas``. At most a
    MiB of each file is read, of its end or after the cursor. Raises InvalidRequest for what is no
    cursor.
    """
    known = None if cursor is None else _positions(cursor)
    lines: list[Line] = []
    positions: dict[int, int] = {}
    for replica in replicas:
        for path in _files(folder, replica):
            for text, at in _texts(path, known, positions):
                line = _line(text, at, graph, replica)
                if line is not None and wanted.fits(line, replica.segment):
                    lines.append(line)
    lines = in_order(lines, most if known is None else len(lines))
    # A file that is just being renamed is not seen, and must not be read anew the next time.
    unseen = [one for one in (known or {}).items() if one[0] not in positions]
    ends = [*unseen[-_UNSEEN:], *positions.items()]
    return Logs(lines, ",".join(f"{number}:{end}" for number, end in ends))


def check_cursor(cursor: str) -> None:
    """Raise InvalidRequest for what is no cursor."""
    if not _CURSOR(cursor):
        raise InvalidRequest(f"after={cursor[:64]!r} is no cursor that this API gave")


def _positions(cursor: str) -> dict[int, int]:
    check_cursor(cursor)
    pairs = (part.split(":") for part in cursor.split(",") if part)
    return {int(number): int(end) for number, end in pairs}


def _texts(
    path: Path, known: Mapping[int, int] | None, positions: dict[int, int]
) -> Iterator[tuple[bytes, float]]:
    """New lines of a file with the time of its last change; notes how far it was read."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            size, number = status.st_size, status.st_ino
            start = max(0, size - _MAX_BYTES) if known is None else known.get(number, 0)
            # The number of a file that is gone may be given to another one.
            start = start if start <= size else 0
            stream.seek(start)
            data = stream.read(_MAX_BYTES)
    except OSError:
        return
    end = data.rfind(b"\n") + 1
    if not end and len(data) == _MAX_BYTES:
        end = len(data)  # one line without an end would be read for ever
    positions[number] = start + end
    texts = data[:end].splitlines()
    if known is None and start:
        texts = texts[1:]  # begins somewhere inside a line
    for text in texts:
        if text.strip() and not text.startswith(_MARKERS):
            yield text, status.st_mtime


def in_order(lines: list[Line], most: int) -> list[Line]:
    """Return the last ``most`` lines in the order of time."""
    ordered = sorted(lines, key=lambda line: str(line["time"]))
    return ordered[max(0, len(ordered) - most) :]


def _line(text: bytes, at: float, graph: str, replica: LoggedReplica) -> Line | None:
    found = _parsed(text)
    if found is None:
        message = text[: 4 * _MAX_TEXT].decode("utf-8", "replace")[:_MAX_TEXT]
        found = {"time": _iso(at), "graph": graph, "message": message}
        if replica.revision:
            found["revision"] = replica.revision
    elif found.get("graph", graph) != graph:
        return None  # of another graph of the same pool
    return {**found, "replica": replica.tag}


def _parsed(text: bytes) -> Line | None:
    """A line of ours; None for any other."""
    if not text.startswith(b"{"):
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    is_ours = isinstance(found, dict) and {"time", "level", "logger", "message"} <= found.keys()
    return found if is_ours else None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def replicas_of(applications: Mapping[str, Any], graph: str) -> Iterator[LoggedReplica]:
    """Yield a graph's replicas, the dead ones too; ``applications`` are Serve's details."""
    for name in sorted(applications):
        parsed = parse_app(name)
        if parsed is None or parsed[0] != graph:
            continue
        revision = "" if parsed[2] is None else str(parsed[2])
        deployments = applications[name]["deployments"]
        for deployment in sorted(deployments):
            for replica in _every(deployments[deployment]):
                tag = f"{name}/{deployment}#{str(replica['replica_id'])[:8]}"
                names = ("log_file_path", "worker_id", "node_id", "node_ip")
                where = (str(replica.get(name) or "") for name in names)
                yield LoggedReplica(tag, deployment, revision, *where)


def _every(deployment: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    seen: dict[str, Mapping[str, Any]] = {}
    for replica in [*(deployment.get("recent_dead_replicas") or ()), *deployment["replicas"]]:
        seen[str(replica["replica_id"])] = replica
    return seen.values()


def _files(folder: Path, replica: LoggedReplica) -> Iterator[Path]:
    """The files of a replica, those that were rotated first, the oldest of them before others."""
    relative = replica.file.lstrip("/")
    if relative:
        log = folder / relative
        rotated = sorted(log.parent.glob(f"{log.name}.[0-9]*"), key=_age, reverse=True)
        yield from rotated
        if log.is_file():
            yield log
    if replica.worker:
        yield from sorted(folder.glob(f"worker-{replica.worker}-*.out"))
        yield from sorted(folder.glob(f"worker-{replica.worker}-*.err"))


def _age(path: Path) -> int:
    """Return how often a file was rotated."""
    number = path.suffix.removeprefix(".")
    return int(number) if number.isdigit() else 0
