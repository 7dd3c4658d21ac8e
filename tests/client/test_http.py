"""Operations are carried out step by step, and left in order however they end."""

from __future__ import annotations

import httpx
import pytest

from anabranch.client.http import LocalWork, Operation, Transport, pause, send, work
from anabranch.errors import NotFound


def answering(status: int) -> Transport:
    replies = httpx.MockTransport(lambda request: httpx.Response(status, json={"error": "no g"}))
    return Transport("http://engine", transport=replies)


def test_an_operation_gets_what_its_steps_result_in() -> None:
    def steps() -> Operation[tuple[int, int]]:
        reply = yield from send("GET", "/g")
        yield from pause(0)
        return reply.status_code, (yield from work(lambda: 7))

    assert answering(200).run(steps()) == (200, 7)


def test_an_error_is_raised_inside_of_the_operation() -> None:
    def asks() -> Operation[str]:
        try:
            yield from send("GET", "/g")
        except NotFound as error:
            return f"caught: {error}"
        return "no error"

    assert answering(404).run(asks()) == "caught: no g"
    with pytest.raises(NotFound, match=r"^no g$"):
        answering(404).run(send("GET", "/g"))


def test_an_interrupted_operation_is_closed() -> None:
    ended = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    def waits() -> Operation[None]:
        try:
            yield LocalWork(interrupted)
        finally:
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        answering(200).run(waits())
    assert ended == [True]
