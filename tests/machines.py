"""Machines that share nothing but a network, for tests of clusters: namespaces of one kernel.

Each machine has processes, mounts, a host name, a loopback and an address of its own, and its own
``/tmp``, ``/dev/shm`` and home; the rest of the file system is this machine's. A machine that is
switched off loses all its processes at once, one whose cable is pulled hears of nothing, and a
cable can be slow for a while, and lose a part of what passes.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil
import pytest

HOME = "/tmp/home"
"""The home of a machine's user, on a disk of the machine's own."""
_NETWORK = "10.77.0"
_SYSTEM = "export PATH=$PATH:/usr/sbin:/sbin; "
_INIT = (
    "exec 3<. && mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm && mkdir /tmp/home &&"
    ' if ! [ -d "$PWD" ]; then mkdir -p "$PWD" && mount -c --bind /proc/self/fd/3 "$PWD"; fi &&'
    " exec 3<&- &&"
    " hostname {name} && ip link set lo up && echo ready && trap '' CHLD && exec sleep infinity"
)
"""A checkout that lies in ``/tmp`` is put back there. Ignoring SIGCHLD makes the system forget the
ended processes that the first one inherits."""
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_entered: Counter[int] = Counter()
"""How many networks each thread has entered and not left."""
_moving = threading.Lock()
"""Held by a thread that enters or leaves a network, so that another finds it in or out."""


@dataclass
class Machine:
    """One machine; ``address`` is its IPv4 address in the network, ``init`` its first process."""

    name: str
    address: str
    init: psutil.Process
    network: Network

    def command(self, *words: object, env: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs ``words`` on the machine, with the settings ``env`` alone."""
        kept = {name: os.environ[name] for name in ("LANG", "TERM") if name in os.environ}
        path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        own = {**kept, "PATH": path, "HOME": HOME, "PYTHONPATH": str(Path.cwd()), **(env or {})}
        pairs = [f"{name}={value}" for name, value in own.items()]
        enter = ["nsenter", "-t", str(self.init.pid), "-m", "-n", "-p", "-u", f"--wdns={HOME}"]
        return [*enter, "env", "-i", *pairs, *map(str, words)]

    def run(
        self, *words: object, env: Mapping[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine to its end."""
        return subprocess.run(
            self.command(*words, env=env), capture_output=True, text=True, timeout=timeout
        )

    def start(
        self,
        *words: object,
        env: Mapping[str, str] | None = None,
        log: IO[bytes] | int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command on the machine, which lives no longer than the machine."""
        return subprocess.Popen(
            self.command(*words, env=env), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def path(self, name: str) -> Path:
        """Where this process sees a file of the machine."""
        return Path(f"/proc/{self.init.pid}/root") / name.lstrip("/")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread open its connections from the machine; those that are open stay.

        AssertionError where a thread has begun there and would stay, and reach nothing later. gRPC
        begins all of its own anew wherever this process forks, as for a command of another user.
        """
        thread = threading.get_native_id()
        with (
            Path("/proc/thread-self/ns/net").open() as own,
            Path(f"/proc/{self.init.pid}/ns/net").open() as other,
        ):
            with _moving:
                _set_network(other.fileno())
                _entered[thread] += 1
            try:
                yield
            finally:
                with _moving:
                    _set_network(own.fileno())
                    _entered[thread] -= 1
                    left = list(_strangers(os.fstat(other.fileno()).st_ino))
            assert not left, f"{left} have begun in the network of {self.name}: begin them outside"

    def cut(self) -> None:
        """Pull the cable: nothing comes and goes, and no connection is closed by that."""
        self.network.set_cable(self, "down")

    def mend(self) -> None:
        """Put the cable back."""
        self.network.set_cable(self, "up")

    @contextmanager
    def slow(self, delay_s: float, loss: float = 0.0, seed: int = 0) -> Iterator[None]:
        """Have each frame come so much later, either way, or never, with the probability ``loss``.

        No connection is closed by the beginning or the end of that, but frames under way are lost.
        """
        with self.network.slow_cable(self, delay_s, loss, seed):
            yield

    def switch_off(self) -> None:
        """End all processes of the machine at once, its network with them."""
        self.init.kill()
        psutil.wait_procs([self.init], timeout=10)


class Network:
    """A switch with machines; leaving it ends all of them. Tests skip where there may be none."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        self._switch = self._first(
            "--net", "ip link set lo up && echo ready && exec sleep infinity"
        )
        self._do("ip link add bridge type bridge && ip link set bridge up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def machine(self, name: str) -> Machine:
        """Add a machine, and wait until it is there."""
        self._count += 1
        address = f"{_NETWORK}.{self._count}"
        spaces = "--net --mount --pid --uts --mount-proc"
        init = self._first(spaces, _INIT.format(name=name))
        machine = Machine(name, address, init, self)
        self._do(
            f"ip link add {name} type veth peer name eth0 netns {init.pid}"
            f" && ip link set {name} master bridge up"
        )
        done = machine.run(
            "sh", "-c", f"ip address add {address}/24 dev eth0 && ip link set eth0 up"
        )
        assert done.returncode == 0, done.stderr
        return machine

    def set_cable(self, machine: Machine, state: str) -> None:
        """Pull a machine's cable ("down") or put it back ("up")."""
        self._do(f"ip link set {machine.name} {state}")

    @contextmanager
    def slow_cable(
        self, machine: Machine, delay_s: float, loss: float, seed: int
    ) -> Iterator[None]:
        """Lead a machine's cable through a process; the module of that says how."""
        name = machine.name
        near, far, end = (f"{name}-{part}" for part in ("near", "far", "end"))
        command = (sys.executable, "-m", "tests.e2e.slow_cable", near, far, delay_s, loss, seed)
        with subprocess.Popen(
            self._inside(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as carrier:
            assert carrier.stdout is not None
            if carrier.stdout.readline() != b"ready\n":
                pytest.skip("there are no network devices of programs (taps) here")
            self._do(
                f"ip link add {end} type bridge && ip link set {end} up"
                f" && ip link set {near} master {end} up && ip link set {far} master bridge up"
                f" && ip link set {name} master {end}"
            )
            try:
                yield
            finally:
                # A machine that is off has no cable any more.
                self._do(f"ip link set {name} master bridge; ip link delete {end}")

    def _first(self, spaces: str, script: str) -> psutil.Process:
        """Start the first process of new namespaces; it ends with this network."""
        command = ["unshare", *spaces.split(), "--fork", "--kill-child", "sh", "-c"]
        started = subprocess.Popen(
            [*command, _SYSTEM + script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert started.stdout is not None
        assert started.stderr is not None
        if started.stdout.readline() != "ready\n":
            started.kill()
            pytest.skip(f"there are no namespaces here: {started.stderr.read().strip()}")
        self._stack.callback(_end, started)
        return psutil.Process(started.pid).children()[0]

    def _inside(self, *words: object) -> list[str]:
        """The command line that runs ``words`` beside the switch."""
        return ["nsenter", "-t", str(self._switch.pid), "-n", *map(str, words)]

    def _do(self, script: str) -> None:
        command = self._inside("sh", "-c", _SYSTEM + script)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _set_network(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "this thread cannot enter the machine's network")


def _strangers(network: int) -> Iterator[str]:
    """Names of this process' threads in a network that they have not entered themselves."""
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if (task / "ns/net").stat().st_ino == network and not _entered[int(task.name)]:
                yield (task / "comm").read_text().strip()
