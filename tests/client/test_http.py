"""Operations are carried out step by step, and left in order however they end."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from anabranch.client.http import (
    AsyncTransport,
    ConnectionBroken,
    EngineUnreachable,
    LocalWork,
    Operation,
    Transport,
    _settings,
    pause,
    send,
    work,
)
from anabranch.errors import (
    AnabranchError,
    EngineError,
    Interrupted,
    InvalidRequest,
    NotFound,
    Unavailable,
)


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


def test_certificates_are_verified_however_the_scheme_is_written() -> None:
    for url in ("https://engine", "HTTPS://engine"):
        assert _settings(url, None, 1.0, True)["verify"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"json": {"reward": float("nan")}}, "Out of range float values"),
        ({"json": {"truth": b"x"}}, "bytes is not JSON serializable"),
        ({"headers": {"x-key": "secrét"}}, "can't encode character"),
        ({"headers": {"x-key": 3}}, "Header value must be str"),
        ({"headers": {"x-key": "secret\nx"}}, "the value of header 'x-key' begins or ends with"),
        ({"headers": {"x-key": "secret "}}, "the value of header 'x-key' begins or ends with"),
    ],
)
def test_what_no_request_can_carry_is_refused_without_its_value(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"^POST /g cannot be sent: .*{message}") as caught:
        answering(200).run(send("POST", "/g", **options))
    assert "secr" not in str(caught.value)


@pytest.mark.parametrize("token", ["secret\nx", "secret x", "secrét", ""])
def test_a_token_that_no_header_can_carry_is_not_told(token: str) -> None:
    for kind in (Transport, AsyncTransport):
        with pytest.raises(EngineError, match="content of the file `token`") as caught:
            kind("http://engine", token)
        assert "secr" not in str(caught.value)


def test_a_url_that_is_none_is_named() -> None:
    for kind in (Transport, AsyncTransport):
        with pytest.raises(EngineError, match=r"^'http://engine:x' is no URL of an engine"):
            kind("http://engine:x")


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [(502, {"anabranch-interrupted": "true"}, Interrupted), (502, {}, AnabranchError),
     (503, {"anabranch-interrupted": "true"}, Interrupted), (503, {}, Unavailable)],
)  # fmt: skip
def test_a_process_that_has_ended_amid_a_request_is_told_from_others(
    status: int, headers: dict[str, str], kind: type[AnabranchError]
) -> None:
    reply = httpx.Response(status, headers=headers, json={"error": "gone"})
    transport = Transport("http://engine", transport=httpx.MockTransport(lambda request: reply))
    with pytest.raises(AnabranchError, match="gone") as raised:
        transport.run(send("GET", "/g"))
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [(httpx.RemoteProtocolError("closed"), ConnectionBroken),
     (httpx.ReadError("reset"), ConnectionBroken), (httpx.ConnectError("no"), EngineUnreachable)],
)  # fmt: skip
def test_a_connection_that_breaks_is_told_from_one_that_never_was(
    error: httpx.HTTPError, kind: type[EngineUnreachable]
) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    transport = Transport("http://engine", transport=httpx.MockTransport(fail))
    with pytest.raises(EngineUnreachable) as raised:
        transport.run(send("GET", "/g"))
    assert type(raised.value) is kind
