"""Logs over HTTP, to real servers that take them, refuse them, or are not well."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from anabranch.errors import Unavailable
from anabranch.router.request_log import http
from anabranch.router.request_log.http import HttpSink
from tests.control import web
from tests.control.web import Answer, Web


@contextmanager
def sink(url: str, timeout: float = 60.0) -> Iterator[HttpSink]:
    one = HttpSink(url, timeout)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def server() -> Iterator[Web]:
    with web.running() as one:
        yield one


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRY_S", 0.0)


def ids(server: Web) -> list[str]:
    return [one["id"] for asked in server.asked for one in asked.json]


def test_events_come_in_batches(server: Web, event: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BATCH", 5 * len(event(0)))
    with sink(f"{server.url}/logs?key=1") as one:
        assert one.send(map(event, range(12))) == 12
        assert one.send(map(event, range(12, 14))) == 2
    assert ids(server) == [str(number) for number in range(14)]
    assert [len(asked.json) for asked in server.asked] == [5, 5, 2, 2]
    first = server.asked[0]
    assert (first.method, first.path, first.query) == ("POST", "/logs", {"key": "1"})
    assert first.headers["content-type"] == ("application/cloudevents-batch+json; charset=UTF-8")


def test_a_large_event_goes_alone(server: Web, event: Any) -> None:
    with sink(server.url) as one:
        assert one.send([event(0), event(1, 2**19), event(2)]) == 3
    assert [len(asked.json) for asked in server.asked] == [1, 1, 1]


def test_a_server_that_stumbles_is_asked_once_more(server: Web, event: Any) -> None:
    server.answer = lambda asked: Answer(503 if len(server.asked) == 1 else 204)
    with sink(server.url) as one:
        assert one.send([event(0)]) == 1
    assert ids(server) == ["0", "0"]


@pytest.mark.parametrize(("status", "tries"), [(500, 2), (429, 2), (400, 1), (413, 1), (302, 1)])
def test_what_is_not_taken_has_not_arrived(
    server: Web, event: Any, status: int, tries: int
) -> None:
    server.answer = lambda asked: Answer(status, headers={"location": f"{server.url}/else"})
    with sink(server.url) as one, pytest.raises(Unavailable, match=f"status {status}"):
        one.send([event(0)])
    assert [asked.path for asked in server.asked] == ["/"] * tries


def test_a_batch_that_is_refused_keeps_no_other_out(
    server: Web, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "BATCH", 1)
    server.answer = lambda asked: Answer(400 if asked.json[0]["id"] == "1" else 200)
    with sink(server.url) as one:
        assert one.send(map(event, range(3))) == 2


def test_a_server_that_is_down_is_not_asked_for_every_batch(
    server: Web, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "BATCH", 1)
    server.answer = lambda asked: Answer(200 if asked.json[0]["id"] == "0" else 500)
    with sink(server.url) as one:
        assert one.send(map(event, range(100))) == 1
    assert len(server.asked) == 3


def test_nobody_there(event: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with sink(f"http://127.0.0.1:{port}") as one, pytest.raises(Unavailable, match="unreachable"):
        one.send([event(0)])


def test_a_server_that_does_not_answer_is_given_up(server: Web, event: Any) -> None:
    server.answer = server.hang
    with sink(server.url, 0.2) as one, pytest.raises(TimeoutError, match=r"within 0\.2 s"):
        one.send([event(0)])


@pytest.mark.parametrize("piece", [b"", b"H"])
def test_a_socket_that_hangs_or_drips_is_given_up(event: Any, piece: bytes) -> None:
    """One byte after the other for ever: each is in time, the whole is not."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_drip, args=(listener, piece, done))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with sink(url, 0.3) as one, pytest.raises(TimeoutError):
                one.send([event(0)])
        finally:
            done.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _drip(listener: socket.socket, piece: bytes, done: threading.Event) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:  # the time was over before somebody had come
        return
    with connection:
        while not done.wait(0.02):
            try:
                connection.sendall(piece)
            except OSError:
                return


def test_it_is_for_any_one_thread(server: Web, event: Any) -> None:
    with sink(server.url) as one:
        send: Callable[[], Any] = lambda: one.send([event(0)])  # noqa: E731
        thread = threading.Thread(target=send)
        thread.start()
        thread.join()
    assert ids(server) == ["0"]
