"""Works on large tensors in JSON in helper processes: nobody waits for Python's lock meanwhile.

Each thread that works on large bodies has a helper of its own, from its first one on. A helper
gives way to all other processes, and ends with its parent, or after a while without work. While it
starts, the thread does itself what takes no longer than that.

On its socket a helper says with one byte that it is up. Messages are the number of their parts,
the sizes of these, and the parts: something pickled, and the memory of its arrays.
"""

from __future__ import annotations

import copyreg
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from select import POLLIN, poll
from struct import Struct
from typing import Any, TypeVar

import numpy as np

from anabranch.errors import Interrupted
from anabranch.router.limits import LARGE
from anabranch.router.off_loop import off_loop
from anabranch.router.oip.raw_tensors import Buffer

T = TypeVar("T")

logger = logging.getLogger("anabranch.router")

WORTH = 2**20
"""Bytes from which on a body in JSON, or what becomes one, is worth a helper that is up."""
WORTH_A_START = 8 * WORTH
"""Bytes from which on it is worth to wait for the start of one."""
IDLE_S = 60.0
"""Time without work after which a helper ends, in seconds."""
_NICENESS = 5
_SIZE = Struct("<Q")
_own = threading.local()
copyreg.pickle(memoryview, lambda view: (memoryview, (pickle.PickleBuffer(view),)))


class HelperEnded(Interrupted):
    """A helper has ended over a body, by chance or because of it; no revision is to blame."""


async def apart(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """Return what ``work`` does about so many bytes, off the event loop; raise what it raises.

    More than ``WORTH`` go to a helper, so all can be pickled; views of memory are, too, and cost
    little. Raises HelperEnded where the helper dies of it, or there is no memory for the answer,
    twice.
    """
    if size <= WORTH:
        return await off_loop(partial(work, *arguments))
    found, error = await off_loop(partial(_asked, size < WORTH_A_START, work, arguments))
    if error is not None:
        raise error
    result: T = found
    return result


async def by_size(body: Buffer, work: Callable[..., T], *arguments: Any) -> T:
    """Return what ``work`` makes of a body and arguments: at once, or as ``apart`` if it is large.

    It gets a view of a large body. Raises what it raises, and HelperEnded.
    """
    if len(body) <= LARGE:
        return work(body, *arguments)
    return await apart(len(body), work, memoryview(body), *arguments)


def _asked(is_short: bool, *work: Any) -> Any:
    """Ask this thread's helper, or else a new one, for the first may have just ended."""
    for _ in range(2):
        helper = _helper()
        if helper is None:
            return _answer(*work)
        try:
            return helper.ask(work) if helper.is_up(not is_short) else _answer(*work)
        except (OSError, EOFError, MemoryError):  # the rest of an answer may be unread
            del _own.helper
            helper.end()
    raise HelperEnded("the process for large bodies has ended; try again later")


def _helper() -> HelperProcess | None:
    """The helper of this thread; None where the system starts no more processes."""
    if not hasattr(_own, "helper"):
        try:
            _own.helper = HelperProcess(*_started())
        except (OSError, RuntimeError) as error:  # the latter of a thread
            logger.warning("no process for large bodies can be started: %s", error)
            return None
    found: HelperProcess = _own.helper
    return found


def _started() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    with ExitStack() as stack:
        own, other = map(stack.enter_context, socket.socketpair())
        number = other.fileno()
        command = [sys.executable, "-P", "-m", __name__, str(number)]
        process = subprocess.Popen(
            command, pass_fds=(number,), stdin=subprocess.DEVNULL, start_new_session=True
        )
        # The system keeps the entry of a process that has ended until somebody has waited for it.
        threading.Thread(target=process.wait, name="anabranch-helper", daemon=True).start()
        stack.pop_all()
        other.close()
        return own, process


class HelperProcess:
    """A helper process, as its parent sees it; it ends with this object at the latest."""

    def __init__(self, its: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self._socket = its
        self._process = process
        self._parent = os.getpid()
        self._is_up = False

    def is_up(self, wait: bool) -> bool:
        """Whether it is up, at the latest after a while. OSError, EOFError if it dies."""
        if not self._is_up and (wait or _has_come(self._socket)):
            _part(self._socket, 1)
            self._is_up = True
        return self._is_up

    def ask(self, work: Any) -> Any:
        """Return the answer and the error, if there is one; OSError, EOFError if it dies."""
        _send(self._socket, work)
        return _received(self._socket)

    def end(self) -> None:
        """End it, and wait until it has; in a fork of its parent, which is not its parent, do not.

        The fork would wait for ever, for a lock of a thread that it does not have.
        """
        self._socket.close()
        if os.getpid() == self._parent:
            self._process.wait()

    __del__ = end


def serve(its: socket.socket) -> None:
    """Work until nobody asks for a while, or the parent has gone."""
    with suppress(OSError, EOFError):
        its.sendall(b"\0")
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


def _has_come(of: socket.socket) -> bool:
    """Return whether there is something to receive; ``select`` knows low file numbers only."""
    look = poll()
    look.register(of, POLLIN)
    return bool(look.poll(0))


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


def _give_way() -> None:
    """Leave the processor to others first, also where Linux shares it by sessions."""
    os.nice(_NICENESS)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


if __name__ == "__main__":
    _give_way()
    serve(socket.socket(fileno=int(sys.argv[1])))
