"""A Redis server of the test run's own: in a temporary folder, on loopback, stopped after."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_ports
from tests.waiting import until

PASSWORD = "a-password-of-redis"


@dataclass
class RedisServer:
    """A server that can be stopped, slowed, killed, and started again on its port."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL with the password, as a secret has it."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    @property
    def client(self) -> Any:
        import redis

        return redis.Redis.from_url(self.url)

    def start(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("Redis is not installed: apt-get install redis-server")
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [*command, "--appendonly", "no", "--requirepass", PASSWORD, "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, 30)

    def _answers(self) -> bool:
        import redis

        with self.client as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def pause(self) -> None:
        """Freeze the process: connections stay, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def _signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def calls(self, command: str) -> int:
        """How often the server has run a command."""
        with self.client as client:
            found = client.info("commandstats").get(f"cmdstat_{command}", {})
        return int(found.get("calls", 0))


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Start a server; skips the test where none is installed."""
    pytest.importorskip("redis", reason="redis is not installed: pip install anabranch[redis]")
    folder = Path(tempfile.mkdtemp(prefix="anabranch-redis-"))
    (port,) = free_ports(1)
    server = RedisServer(folder, port)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.go_on()
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)
