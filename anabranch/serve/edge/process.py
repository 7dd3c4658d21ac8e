"""The process of the edge's HAProxy: how it starts, is watched, and ends.

A process is known by its file descriptor (pidfd), never by a number that another process could
have by now. So an HAProxy that is a child and one that was found are watched in the same way, in
any thread and on any event loop.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from anabranch.errors import EngineError
from anabranch.serve.edge.configuration import CONFIGURATION, STOP_S

PID_FILE = "haproxy.pid"
START_S = 30.0
"""Longest time until a new process answers, in seconds; on a busy machine it takes some."""
# In the place of the former number, of the same length, which a full disk takes too.
_START = f"""printf '%-10d\\n' $$ 1<>{PID_FILE}; exec "$@\""""
_WORDS = 2000


class EdgeProcess:
    """A running HAProxy, started by ``spawn`` or found by ``find``, until ``close``.

    One that is closed has ended: its file descriptor may be another file's by then.
    """

    def __init__(self, pid: int, pidfd: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._pidfd: int | None = pidfd
        self._child = child

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        if self._pidfd is None:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    @property
    def stopped(self) -> bool:
        """Whether the kernel has stopped the process (SIGSTOP); a debugger does not."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        return False

    async def wait(self) -> None:
        """Return as soon as the process has ended, by itself or not."""
        if self._pidfd is None:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        own = os.dup(self._pidfd)
        loop.add_reader(own, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(own)
            os.close(own)
        if self._child is not None:
            self._child.wait()

    async def ends_within(self, seconds: float) -> bool:
        """Wait for the end of the process for at most this long; whether it came."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wait()
        return self.ended

    async def end(self) -> None:
        """End the process: it accepts nothing from now on, and requests have STOP_S to finish."""
        self._send(signal.SIGUSR1)
        if not await self.ends_within(STOP_S + 1):
            self.kill()
        await self.wait()

    def kill(self) -> None:
        """End the process at once."""
        self._send(signal.SIGKILL)

    def words(self) -> str:
        """Return what the process said before it ended at its start."""
        if self._child is None or self._child.stderr is None:
            return ""
        # A process of its own that goes on could hold the pipe open.
        os.set_blocking(self._child.stderr.fileno(), False)
        found = self._child.stderr.read(_WORDS) or b"it said nothing"
        return found.decode(errors="replace").strip()

    def hush(self) -> None:
        """Let the process talk to nobody: it reports each change of a server, and none is news."""
        if self._child is not None and self._child.stderr is not None:
            self._child.stderr.close()

    def close(self) -> None:
        """Give up what watches the process."""
        self.hush()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _send(self, signal_: signal.Signals) -> None:
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal_)


def _arguments_of(folder: Path) -> list[str]:
    """Return the arguments of the HAProxy of a folder, which are no other's."""
    return ["-db", "-f", str(folder / CONFIGURATION)]


def spawn(binary: Path, folder: Path, listeners: Mapping[str, socket.socket]) -> EdgeProcess:
    """Start HAProxy, which writes its number into the pid file before it is HAProxy.

    It inherits the listeners, whose numbers it finds in environment variables of these names.
    EngineError where the binary does not run.
    """
    numbers = {name: listener.fileno() for name, listener in listeners.items()}
    try:
        child = subprocess.Popen(
            ["/bin/sh", "-c", _START, "sh", str(binary), *_arguments_of(folder)],
            cwd=folder,
            env={**os.environ, **{name: str(number) for name, number in numbers.items()}},
            pass_fds=tuple(numbers.values()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return EdgeProcess(child.pid, os.pidfd_open(child.pid), child)
    except OSError as error:
        raise EngineError(f"HAProxy does not start: {error}") from error


def find(folder: Path) -> EdgeProcess | None:
    """Return the HAProxy of this folder that runs although its owner has died, if there is one."""
    try:
        pid = int((folder / PID_FILE).read_text())
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError, OverflowError):
        return None
    if _command_line(pid)[-3:] == _arguments_of(folder):
        return EdgeProcess(pid, pidfd)
    os.close(pidfd)
    return None


def drain(folder: Path, is_owner: Callable[[int], bool]) -> None:
    """Have the HAProxy of this folder accept nothing from now on, and wait until it has ended, for
    STOP_S and a little more at most.

    Its owner would start another one, so its parent is killed if ``is_owner`` says that of the
    parent's number: for a machine of which all else ends right after.
    """
    found = find(folder)
    if found is None:
        return
    with suppress(psutil.Error):
        owner = psutil.Process(found.pid).parent()
        if owner is not None and is_owner(owner.pid):
            owner.kill()
    asyncio.run(found.end())
    found.close()


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    except OSError:
        return []
