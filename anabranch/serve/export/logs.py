"""Writes a process's log to Serve's file of the replica, which Ray's dashboard shows.

Serve gives each replica a file, rotates it, and buffers what it writes of its own. Records of all
loggers go there as they come, in JSON, and so does what components print. A process that is no
replica writes to its standard error, which Ray keeps in a file too. What components write is
bounded, in lines and in bytes.
"""

from __future__ import annotations

import logging
import sys
from logging.handlers import MemoryHandler, RotatingFileHandler

from anabranch.serve.identity import here
from anabranch.telemetry.log_limit import LineLimit
from anabranch.telemetry.log_settings import LogBounds
from anabranch.telemetry.logs import COMPLAINED, JsonFormatter, Printed, Stamp

SERVE = "ray.serve"
_CHATTY = ("httpx", "httpcore", "urllib3", "filelock", "fsspec", "botocore")
"""Libraries that log every request they make."""


def write_logs() -> None:
    """Have this process log so from now on; once is enough."""
    root = logging.getLogger()
    if any(isinstance(handler.formatter, JsonFormatter) for handler in root.handlers):
        return
    bounds = LogBounds.from_env()
    handler = _handler()
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RayNotices())
    handler.addFilter(LineLimit(bounds.rate))
    _bound(handler, bounds.size)
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a disk that is full would be told to what writes to it
    sys.stdout = Printed(sys.stdout)
    sys.stderr = Printed(sys.stderr, COMPLAINED)
    _quiet_serve()


def _bound(handler: logging.Handler, size: int) -> None:
    """Keep Serve's file of a replica and the one before it to ``size`` bytes together."""
    if isinstance(handler, RotatingFileHandler):
        handler.maxBytes, handler.backupCount = size // 2, 1


def _handler() -> logging.Handler:
    """Return the handler that writes records: to Serve's file where there is one."""
    stamp = Stamp(*here())
    handler: logging.Handler = logging.StreamHandler()
    for buffer in logging.getLogger(SERVE).handlers:
        if isinstance(buffer, MemoryHandler) and buffer.target is not None:
            # Serve's own records must know of what they speak before they wait in the buffer.
            buffer.addFilter(stamp)
            handler = buffer.target
    handler.addFilter(stamp)
    return handler


class RayNotices(logging.Filter):
    """Keeps Ray's notices about itself out of the log of a graph, and the frames of its errors."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be written; shorten a traceback of Ray's to its error."""
        if record.name.partition(".")[0] != "ray":
            return True
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            reason = str(error).strip().splitlines() or [""]
            record.msg = f"{record.getMessage()} ({type(error).__name__}: {reason[-1]})"
            record.args, record.exc_info, record.exc_text = (), None, None
        return record.levelno >= logging.ERROR


def _quiet_serve() -> None:
    """Keep Serve from making a record of every request, which costs more than the request.

    And from writing to standard error what stands in its file.
    """
    serve = logging.getLogger(SERVE)
    serve.setLevel(logging.WARNING)
    buffers = [handler for handler in serve.handlers if isinstance(handler, MemoryHandler)]
    if buffers:
        serve.handlers = list(buffers)
    for buffer in buffers:
        buffer.capacity = 1
