"""Which actor of Ray runs in a process, whatever that actor does just now."""

from __future__ import annotations

import re
import time

import psutil

MARK = "ray::"
"""How the title of a process of Ray's begins."""
LONGEST_CALL_S = 1.0
_METHOD = re.compile(r"\.\w+$")
_IN_CALL = re.compile("(?!ServeReplica:)[^.]*:")
_names: dict[psutil.Process, str] = {}


def actor_of(process: psutil.Process) -> str:
    """The name of the actor that a process runs, ``''`` if it runs none; psutil.Error if it ended.

    Ray names a worker's process after its actor. While a call goes on, the title has only what
    follows the name's last dot, with the method: ``ray::r1:double.check_health`` for the replica
    ``ServeReplica:graph.r1:double``. A name that was read once is kept, and a process that was
    never seen between two calls is looked at again for ``LONGEST_CALL_S``.
    """
    deadline = time.monotonic() + LONGEST_CALL_S
    while (title := _title(process)).startswith(MARK) and process not in _names:
        name = _METHOD.sub("", title.removeprefix(MARK))
        if not _IN_CALL.match(name):
            if ":" in name:
                _names[process] = name
            return name
        if time.monotonic() > deadline:
            return ""
        time.sleep(0.005)
    return _names.get(process, "")


def command_line(process: psutil.Process) -> str:
    """The command line of a process, with the actor's name in place of an actor's title."""
    line = _title(process)
    return MARK + actor_of(process) if line.startswith(MARK) else line


def _title(process: psutil.Process) -> str:
    return " ".join(process.cmdline()).rstrip()
