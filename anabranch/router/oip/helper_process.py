"""Works on large tensors in JSON in helper processes: nobody waits for Python's lock meanwhile.

Each thread that works on large bodies has a helper of its own, from its first one on. A helper
gives way to all other processes, and ends with its parent, or after a while without work.
On its socket, a message is the number of its parts, their sizes, and the parts: something pickled,
and the memory of its arrays.
"""

from __future__ import annotations

import copyreg
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from struct import Struct
from typing import Any, TypeVar

import numpy as np

from anabranch.errors import Unavailable
from anabranch.router.off_loop import off_loop

T = TypeVar("T")

WORTH = 2**20
"""Bytes from which on a body in JSON, or what becomes one, is worth a helper."""
IDLE_S = 60.0
"""Time without work after which a helper ends, in seconds."""
_NICENESS = 5
_SIZE = Struct("<Q")
_own = threading.local()
copyreg.pickle(memoryview, lambda view: (memoryview, (pickle.PickleBuffer(view),)))


async def apart(work: Callable[..., T], *arguments: Any) -> T:
    """Return what ``work`` does, in a helper; raise what it raises.

    All can be pickled; views of memory are, too, and cost little. Raises Unavailable where the
    helper dies of it, twice.
    """
    found, error = await off_loop(partial(_asked, work, arguments))
    if error is not None:
        raise error
    result: T = found
    return result


def _asked(*work: Any) -> Any:
    """Ask this thread's helper, or else a new one, for the first may have just ended."""
    for _ in range(2):
        with suppress(OSError, EOFError):
            if not hasattr(_own, "helper"):
                _own.helper = HelperProcess(*_started())
            return _own.helper.ask(work)
        vars(_own).clear()
    raise Unavailable("the process for large bodies has ended; try again later")


def _started() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    own, other = socket.socketpair()
    with other:
        number = other.fileno()
        command = [sys.executable, "-P", "-m", __name__, str(number)]
        return own, subprocess.Popen(command, pass_fds=(number,), stdin=subprocess.DEVNULL)


class HelperProcess:
    """A helper process, as its parent sees it; it ends with this object."""

    def __init__(self, its: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self._socket = its
        self._process = process

    def ask(self, work: Any) -> Any:
        """Return the answer and the error, if there is one; OSError, EOFError if it dies."""
        _send(self._socket, work)
        return _received(self._socket)

    def __del__(self) -> None:
        self._socket.close()
        self._process.wait()


def serve(its: socket.socket) -> None:
    """Work until nobody asks for a while, or the parent has gone."""
    with suppress(OSError, EOFError):
        while True:
            its.settimeout(IDLE_S)
            work = _received(its)
            its.settimeout(None)
            _send(its, _answer(*work))
            del work


def _answer(
    work: Callable[..., T], arguments: tuple[Any, ...]
) -> tuple[T | None, Exception | None]:
    try:
        return work(*arguments), None
    except Exception as error:
        return None, error


def _send(to: socket.socket, value: Any) -> None:
    memory: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, 5, buffer_callback=memory.append)
    parts = [memoryview(pickled), *(one.raw() for one in memory)]
    to.sendall(b"".join(map(_SIZE.pack, (len(parts), *map(len, parts)))))
    for part in parts:
        to.sendall(part)


def _received(of: socket.socket) -> Any:
    (count,) = _SIZE.unpack(_part(of, _SIZE.size))
    sizes = _SIZE.iter_unpack(_part(of, count * _SIZE.size))
    pickled, *memory = [_part(of, size) for (size,) in sizes]
    return pickle.loads(pickled, buffers=memory)  # of our own process


def _part(of: socket.socket, size: int) -> memoryview:
    """Receive so many bytes; memory is taken as they come, which does not hold Python's lock."""
    view = np.empty(size, np.uint8).data
    filled = 0
    while filled < size:
        came = of.recv_into(view[filled:])
        if not came:
            raise EOFError
        filled += came
    return view


if __name__ == "__main__":
    os.nice(_NICENESS)
    serve(socket.socket(fileno=int(sys.argv[1])))
