"""The lease: of all controllers that use one store, one acts.

The lease is a row with its holder's name and a beat that the holder keeps increasing. No clocks are
compared: a contender takes it over once it has seen the same beat for the time to live on its own
clock, or at once if the holder let go of it, or was a process of this machine that is gone. A
holder that was taken over without knowing, because it was frozen or cut off, is kept from writing
by the fence (``database``): each of its transactions holds the lease's row and looks whose it is.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.control.store.schema import CONTROLLER, leases
from anabranch.control.store.store import Store
from anabranch.errors import Unavailable

TTL = 3.0
"""How long a beat is good for, in seconds; holders renew several times as often."""
_PAUSE = 0.1
"""Time between two tries to get the lease, in seconds."""
FREE = ""
"""The holder of a lease that anybody may take."""
_PID = re.compile("[1-9][0-9]{0,8}")


class Lease:
    """One controller's claim to its store, which is fenced from here on.

    Call ``renew`` about every second, and act only while ``held``.
    """

    def __init__(
        self,
        store: Store,
        holder: str | None = None,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.holder = holder or name_of_holder()
        self._database = store.database
        self._ttl = ttl
        self._clock = clock
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0
        self._good_until = float("-inf")
        store.fence(self.holder)

    @property
    def held(self) -> bool:
        """Whether nobody can have taken it over, as far as a clock can tell."""
        return self._clock() < self._good_until

    def acquire(self, timeout: float) -> bool:
        """Try for at most ``timeout`` seconds, also while the database does not answer."""
        deadline = self._clock() + timeout
        while True:
            with suppress(Unavailable):
                if self.try_acquire():
                    return True
            left = deadline - self._clock()
            if left <= 0:
                return False
            time.sleep(min(_PAUSE, left))

    def try_acquire(self) -> bool:
        """Take the lease if it is free, ours, or its holder is gone or silent for too long."""
        began = self._clock()
        with self._database.write(fenced=False) as connection:
            holder, beat = read_lease(connection)
            taken = self._may_take(holder, beat, began)
            if taken:
                write_lease(connection, self.holder, beat + 1)
        if taken:
            self._good_until = began + self._ttl
        elif self._seen != (holder, beat):
            self._seen, self._seen_at = (holder, beat), self._clock()
        return taken

    def renew(self) -> bool:
        """Show that we are alive; False if the lease is no longer ours.

        A loss of power may take a beat, which harms nobody: all that counts is that it changes.
        """
        began = self._clock()
        with self._database.write(fenced=False, durable=False) as connection:
            holder, beat = read_lease(connection)
            if holder == self.holder:
                write_lease(connection, holder, beat + 1)
        self._good_until = began + self._ttl if holder == self.holder else float("-inf")
        return holder == self.holder

    def release(self) -> None:
        """Let go of it, so that the next one need not wait; no effect if it is not ours."""
        self._good_until = float("-inf")
        with self._database.write(fenced=False) as connection:
            holder, beat = read_lease(connection)
            if holder == self.holder:
                write_lease(connection, FREE, beat + 1)

    def _may_take(self, holder: str, beat: int, now: float) -> bool:
        if holder in (FREE, self.holder):
            return True
        silent = self._seen == (holder, beat) and now - self._seen_at >= self._ttl
        return silent or is_gone(holder)


def read_lease(connection: Connection) -> tuple[str, int]:
    """The holder and its beat, which nobody else changes before the transaction ends."""
    query = sa.select(leases.c.holder, leases.c.beat).where(leases.c.name == CONTROLLER)
    holder, beat = connection.execute(query.with_for_update()).one()
    return holder, beat


def write_lease(connection: Connection, holder: str, beat: int) -> None:
    """Give the lease to a holder, or let others take it, with a beat that nobody has seen yet."""
    row = leases.update().where(leases.c.name == CONTROLLER)
    connection.execute(row.values(holder=holder, beat=beat))


@dataclass(frozen=True)
class _Process:
    """A process that no other ever equals: numbers are used again, these four are not."""

    boot: str
    namespace: str
    pid: int
    start: str

    def __str__(self) -> str:
        return "/".join((self.boot, self.namespace, str(self.pid), self.start))


def name_of_holder() -> str:
    """A name for this process that is used once, and says which process it is where that can be
    known (on Linux).
    """
    return f"{_this_process() or 'unknown'} {uuid.uuid4().hex}"


def is_gone(holder: str) -> bool:
    """Return whether a holder was a process of this machine that certainly no longer runs."""
    ours, its = _this_process(), _parsed(holder)
    if ours is None or its is None or (its.boot, its.namespace) != (ours.boot, ours.namespace):
        return False
    try:
        os.kill(its.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    try:
        return _start_of(its.pid) != its.start
    except ProcessLookupError:
        return True
    except OSError:
        return False


def _parsed(holder: str) -> _Process | None:
    parts = holder.split(" ")[0].split("/")
    if len(parts) != 4 or _PID.fullmatch(parts[2]) is None:
        return None
    return _Process(parts[0], parts[1], int(parts[2]), parts[3])


def _this_process() -> _Process | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
        return _Process(boot, namespace, os.getpid(), _start_of(os.getpid()))
    except OSError:
        return None


def _start_of(pid: int) -> str:
    """When a process began, in ticks since the machine's start; ProcessLookupError if it has ended,
    whether or not its parent has asked how.

    Not psutil's creation time: that follows the system's clock when it is set.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        raise ProcessLookupError(pid)
    return fields[19]
