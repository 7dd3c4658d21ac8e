"""Two machines without Ray: the cable between them is pulled amid calls of every kind, or slow."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from anabranch.control.access.authority import (
    certificates_environment,
    cluster_certificates,
    make_certificates,
    write_certificates,
)
from tests.machines import HOME, Machine, Network

SILENT_S = 100.0
ECHO = 7000
"""A port."""
pytestmark = [pytest.mark.e2e]


def join(machine: Machine, engine: Path) -> dict[str, str]:
    """Give a machine the certificates of an engine; the variables of its processes."""
    write_certificates(machine.path(HOME), cluster_certificates(engine))
    return certificates_environment(Path(HOME))


@contextmanager
def started(
    machine: Machine, *words: str, env: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module of the tests on a machine, no longer than this."""
    command = machine.command("python", "-m", *words, env=env)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()  # what it has started ends with the machine
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def told(process: subprocess.Popen[bytes], machine: Machine) -> Any:
    """Read what a process tells; its machine is switched off if it tells nothing."""
    assert process.stdout is not None
    watchdog = threading.Timer(SILENT_S, machine.switch_off)
    watchdog.start()
    try:
        line = process.stdout.readline()
    finally:
        watchdog.cancel()
    assert line, "it ended, or said nothing for too long"
    return json.loads(line)


def test_what_was_under_way_to_a_machine_that_is_cut_off_ends_while_it_is_and_is_answered_again(
    tmp_path: Path,
) -> None:
    make_certificates(tmp_path)
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        near, far = network.machine("near"), network.machine("far")
        module = "tests.e2e.far_process"
        serving = stack.enter_context(started(far, module, env=join(far, tmp_path)))
        assert told(serving, far) == "listens"
        words = ("tests.e2e.near_process", far.address)
        calling = stack.enter_context(started(near, *words, env=join(near, tmp_path)))
        first = told(calling, near)
        assert first == {
            "stream": [1], "gateway": 200, "front": "OK", "again": 200, "once": 200
        }  # fmt: skip
        assert told(calling, near) == "waiting"
        far.cut()
        ends = told(calling, near)
        assert ends.pop("once") in (502, "closed")
        assert ends == {"stream": "lost", "gateway": 503, "front": "UNAVAILABLE", "again": 200}
        far.mend()
        assert told(calling, near) == first


def test_a_slow_cable_delays_and_loses_what_passes_and_ends_no_connection() -> None:
    with Network() as network:
        near, far = network.machine("near"), network.machine("far")
        with ExitStack() as stack:
            with far.inside():
                echo = stack.enter_context(socket.create_server((far.address, ECHO)))
            echo.settimeout(20)
            answering = threading.Thread(target=answer, args=(echo,))
            answering.start()
            stack.callback(answering.join)
            with near.inside():
                asking = stack.enter_context(socket.create_connection((far.address, ECHO), 20))
            assert answers(asking)
            with far.slow(0.2):
                began = time.monotonic()
                assert answers(asking)
                assert time.monotonic() - began > 0.4
            with far.slow(0.0, loss=1.0):
                asking.settimeout(0.5)
                assert not answers(asking)
                asking.settimeout(20)
            assert asking.recv(1) == b"x"  # what was lost is sent again
            assert answers(asking)


def test_a_thread_that_would_stay_in_a_machine_s_network_is_told_and_no_other() -> None:
    with Network() as network:
        near = network.machine("near")

        def visit(times: int) -> int:
            for _ in range(times):
                with near.inside():
                    pass
            return times

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(visit, [100] * 8)) == [100] * 8
        over = threading.Event()
        staying = threading.Thread(target=over.wait)
        try:
            with pytest.raises(AssertionError, match="begun in the network of near"), near.inside():
                staying.start()
        finally:
            over.set()
            staying.join()
        visit(1)


def answer(echo: socket.socket) -> None:
    """Send what one client sends back to it."""
    connection, _ = echo.accept()
    with connection:
        while found := connection.recv(1):
            connection.sendall(found)


def answers(asking: socket.socket) -> bool:
    asking.sendall(b"x")
    try:
        return asking.recv(1) == b"x"
    except TimeoutError:
        return False
