"""Reads request logs again, event by event, in memory that does not grow with them."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from anabranch.errors import InvalidRequest
from anabranch.router.request_log import parquet
from anabranch.router.request_log.events import (
    FEEDBACK,
    TYPE,
    LogEvent,
    LoggedReward,
    RewardEvent,
)
from anabranch.router.request_log.parquet import JSONL, PARQUET

MAX_LINE = 64 * 2**20
"""Bytes of the longest line that is read."""
_decode = msgspec.json.Decoder(LogEvent).decode
_decode_reward = msgspec.json.Decoder(RewardEvent).decode


class LogFile(NamedTuple):
    """A file of a log, and how much of it there was when it was looked for."""

    path: Path
    size: int


def log_files(logs: Iterable[str]) -> list[LogFile]:
    """The files of logs, in the order in which they were begun.

    Each of ``logs`` is a file, a folder, or a pattern. Raises InvalidRequest for one without files.
    """
    found = {path for log in logs for path in _files(log)}
    complete = {path.with_suffix("") for path in found if path.suffix == PARQUET}
    # A file that was converted may still be there, if that was cut short at its very end.
    kept = [
        path for path in found if path.suffix == PARQUET or path.with_suffix("") not in complete
    ]
    return [LogFile(path, path.stat().st_size) for path in sorted(kept, key=_begun)]


def _files(log: str) -> list[Path]:
    place = Path(log)
    if place.is_dir():
        found = [path for path in place.rglob("*") if path.suffix in _READERS]
    elif place.is_file():
        found = [place]
    else:
        matches = glob.glob(log, recursive=True)  # noqa: PTH207 (no absolute ones there)
        found = [path for path in map(Path, matches) if path.is_file()]
    if not found:
        raise InvalidRequest(f"{log!r} has no request logs (*{JSONL}, *{PARQUET})")
    unknown = next((path for path in found if path.suffix not in _READERS), None)
    if unknown is not None:
        raise InvalidRequest(f"{str(unknown)!r} is no request log (*{JSONL}, *{PARQUET})")
    return found


def _begun(path: Path) -> tuple[str, str]:
    return path.stem.rpartition("-")[2], str(path)


def read(files: Iterable[LogFile]) -> Iterator[LogEvent | None]:
    """The requests of files; None stands for what is no event, such as a line that is cut off.

    What is written to a file after it was looked for is not read: a log may be sent to the graph
    that goes on writing to it. Raises InvalidRequest where a file cannot be read.
    """
    return (_event(text) for text in _texts(files) if _reward(text) is None)


def read_rewards(files: Iterable[LogFile]) -> Iterator[LoggedReward]:
    """The rewards of files. Raises InvalidRequest where a file cannot be read."""
    return (found for text in _texts(files) if (found := _reward(text)) is not None)


def _texts(files: Iterable[LogFile]) -> Iterator[bytes]:
    for file in files:
        try:
            yield from _READERS[file.path.suffix](file)
        except OSError as error:
            raise InvalidRequest(f"{str(file.path)!r} cannot be read: {error}") from None
        except ValueError as error:  # Arrow's own
            raise InvalidRequest(f"{str(file.path)!r} is not Parquet: {error}") from None


def _reward(text: bytes) -> LoggedReward | None:
    """Return the reward of an event of feedback; None for any other text."""
    if FEEDBACK.encode() not in text:
        return None
    try:
        event = _decode_reward(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return event.data if event.type == FEEDBACK else None


def _event(text: bytes) -> LogEvent | None:
    try:
        event = _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return event if event.type == TYPE else None


def _lines(file: LogFile) -> Iterator[bytes]:
    with file.path.open("rb") as lines:
        while lines.tell() < file.size:
            yield _line(lines)


def _line(lines: BinaryIO) -> bytes:
    """The next line; of one that is too long nothing."""
    line = lines.readline(MAX_LINE)
    if len(line) < MAX_LINE:
        return line
    while len(line) == MAX_LINE and not line.endswith(b"\n"):
        line = lines.readline(MAX_LINE)
    return b""


def _rows(file: LogFile) -> Iterator[bytes]:
    return parquet.events(file.path)


_READERS: dict[str, Callable[[LogFile], Iterator[bytes]]] = {JSONL: _lines, PARQUET: _rows}
