"""Whether the proxy is one process, on real sockets that two processes share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from anabranch.client import live

SHARE = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); print(flush=True); input()"


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket of this process, which stands for HAProxy's."""
    monkeypatch.setattr(live, "_PROXY", psutil.Process().name())
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@contextmanager
def shared(listener: socket.socket) -> Iterator[None]:
    """Another process of the same name takes connections, too."""
    number = os.dup(listener.fileno())
    os.set_inheritable(number, True)
    code = f"open('/proc/self/comm', 'w').write({psutil.Process().name()!r}); {SHARE}"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(number)],
        pass_fds=[number],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        os.close(number)
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate(b"\n", timeout=30)


def url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_what_one_of_two_processes_says_does_not_hold(listener: socket.socket) -> None:
    asked: list[int] = []

    def what() -> bool:
        asked.append(1)
        return True

    with shared(listener):
        assert not live.holds(url(listener), what)
        assert asked == []
    assert live.holds(url(listener), what)


def test_where_the_proxy_cannot_be_seen_it_must_say_so_several_times(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_PROXY", "none of this name")
    answers = [True, True, False, True]
    with shared(listener):
        assert not live.holds(url(listener), lambda: answers.pop(0))
        assert answers == [True]
        assert live.holds(url(listener), lambda: True)
