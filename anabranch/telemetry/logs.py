"""Log of a process, as lines of JSON that name their request and node.

| field | holds |
|---|---|
| time | when, in UTC: ISO 8601 with microseconds |
| level, logger | as in `logging`; what is printed has the logger `stdout` |
| message | the text |
| graph, revision | what the process serves |
| node | the node whose component runs, if one does |
| request_id | the request that it runs for; `request_ids` where a batch holds several |
| trace_id | of that request, where it is traced |
| exception | the traceback, if there is one |

What is given as ``extra=`` stands beside them under its own names. The request and the node are
context variables, so tasks, and threads of the engine, know them; setting one takes about 40
nanoseconds.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from io import TextIOBase
from typing import Any, BinaryIO, Protocol, TextIO

import orjson

from anabranch.masking import masked, masked_json, safe_end
from anabranch.telemetry.trace import Trace

MAX_TEXT = 16 * 2**10
"""Longest message or traceback, in characters; what is beyond is cut."""
PRINTED, COMPLAINED = "stdout", "stderr"
"""Loggers of what is written to the streams of these names."""
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "about", "taskName"}
"""Attributes that every record has, or is given here."""


class Asked(Protocol):
    """A request, as lines of the log name it."""

    @property
    def id(self) -> str:
        """The caller's identifier, or one that was made for it."""

    @property
    def trace(self) -> Trace | None:
        """Where it is traced, if it is."""


REQUESTS: ContextVar[tuple[Asked, ...]] = ContextVar("requests", default=())
"""Requests that the running code works for: mostly one."""
SERVED: ContextVar[tuple[str, str]] = ContextVar("served", default=("", ""))
"""Graph and revision that the running code serves, in a process that serves several."""
NODE: ContextVar[str] = ContextVar("node", default="")
"""The node whose component is running."""


class Stamp(logging.Filter):
    """Notes on each record what it speaks of, while that is known: it may be written later."""

    def __init__(self, graph: str, revision: str) -> None:
        super().__init__()
        here = {"graph": graph, "revision": revision}
        self._here = {name: value for name, value in here.items() if value}

    def filter(self, record: logging.LogRecord) -> bool:
        """Note it; every record passes."""
        if not hasattr(record, "about"):
            record.about = {**self._here, **_about()}
        return True


def _about() -> dict[str, Any]:
    found: dict[str, Any] = {}
    graph, revision = SERVED.get()
    if graph:
        found |= {"graph": graph, "revision": revision}
    if node := NODE.get():
        found["node"] = node
    requests = REQUESTS.get()
    if len(requests) == 1:
        found["request_id"] = requests[0].id
        if requests[0].trace is not None:
            found["trace_id"] = requests[0].trace.trace_id
    elif requests:
        found["request_ids"] = [request.id for request in requests]
    return found


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        given = vars(record).items()
        # A name with an underscore is some library's own, such as Ray's time in nanoseconds.
        extra = {
            name: value for name, value in given if name not in _OWN and not name.startswith("_")
        }
        document: dict[str, Any] = {
            **extra,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _cut(record.getMessage()),
            **getattr(record, "about", {}),
        }
        told = self._exception(record)
        if told:
            document["exception"] = _cut(told)
        try:
            return _encoded(document)
        except TypeError:
            # Something that JSON cannot carry, and for which `str` alone does not help.
            plain = {name: _cut(str(value)) for name, value in extra.items()}
            return _encoded({**plain, **{key: document[key] for key in document.keys() - extra}})

    def _exception(self, record: logging.LogRecord) -> str:
        parts = [self.formatException(record.exc_info)] if record.exc_info else []
        parts += [self.formatStack(record.stack_info)] if record.stack_info else []
        return "\n".join(parts) or record.exc_text or ""


def _encoded(document: dict[str, Any]) -> str:
    line = orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS)
    return masked_json(line).decode()


def _cut(text: str) -> str:
    text = masked(text)  # before it is cut, which might leave a part of a secret
    text = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    return text.encode("utf-8", "replace").decode()


class Printed(TextIOBase):
    """Stands in for ``sys.stdout`` or ``sys.stderr``: each line that is written becomes a record of
    the log, under the name of the stream.
    """

    def __init__(self, original: TextIO, name: str = PRINTED) -> None:
        self._original = original
        self._logger = logging.getLogger(name)
        self._begun: ContextVar[str] = ContextVar("begun", default="")
        """The line that is not ended yet, of each task and thread."""

    def write(self, text: str) -> int:
        """Log every line that ``text`` ends, and keep the rest if it is no longer than a line.

        Of a longer one, that is kept which may go on as a secret.
        """
        *lines, rest = f"{self._begun.get()}{text}".split("\n")
        if len(rest) > MAX_TEXT:
            end = safe_end(rest)
            lines, rest = [*lines, rest[:end]], rest[end:]
        self._begun.set(rest)
        for line in lines:
            self._log(line)
        return len(text)

    def flush(self) -> None:
        """Log what is there of a line."""
        rest = self._begun.get()
        if rest:
            self._begun.set("")
            self._log(rest)

    def fileno(self) -> int:
        """Return the file of the original, for what writes to it past Python."""
        return self._original.fileno()

    @property
    def buffer(self) -> BinaryIO:
        """The binary buffer of the original: bytes written to it are no lines of the log."""
        return self._original.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the original."""
        return self._original.encoding

    def _log(self, line: str) -> None:
        if line.strip():
            self._logger.info("%s", line.rstrip())
