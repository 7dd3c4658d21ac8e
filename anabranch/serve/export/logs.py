"""Writes a process's log to Serve's file of the replica, which Ray's dashboard shows.

Serve gives each replica a file, rotates it, and buffers what it writes of its own. Records of all
loggers go there as they come, in JSON. A process that is no replica writes to its standard error,
which Ray keeps in a file too.
"""

from __future__ import annotations

import logging
import sys
from logging.handlers import MemoryHandler

from anabranch.serve.identity import here
from anabranch.telemetry.logs import JsonFormatter, Printed, Stamp

SERVE = "ray.serve"
_CHATTY = ("httpx", "httpcore", "urllib3", "filelock", "fsspec", "botocore")
"""Libraries that log every request they make."""


def write_logs() -> None:
    """Have this process log so from now on; once is enough."""
    root = logging.getLogger()
    if any(isinstance(handler.formatter, JsonFormatter) for handler in root.handlers):
        return
    handler = _handler()
    handler.setFormatter(JsonFormatter())
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.stdout = Printed(sys.stdout)
    _quiet_serve()


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
