from __future__ import annotations

import json
import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import errors
from anabranch.errors import AnabranchError, Interrupted, NodeError, Unavailable
from anabranch.router.errors import (
    MAX_ERROR_BODY,
    STATUS,
    HeadersTooLarge,
    MethodNotAllowed,
    SlowBody,
    UnencodableOutput,
    UnsupportedBody,
    error_body,
    error_reply,
    status_of,
)

EXPECTED = [
    (errors.InvalidRequest("m"), 400),
    (errors.Unauthenticated("m"), 401),
    (errors.Forbidden("m"), 403),
    (errors.NotFound("m"), 404),
    (errors.Conflict("m"), 409),
    (errors.TooLarge("m"), 413),
    (errors.TooManyRequests("m"), 429),
    (errors.NodeError("n", "m"), 500),
    (errors.Unavailable("m"), 503),
    (errors.DeadlineExceeded("m"), 504),
    (MethodNotAllowed("PUT", ["GET"]), 405),
    (SlowBody("m"), 408),
    (UnsupportedBody("m"), 415),
    (HeadersTooLarge("m"), 431),
    (UnencodableOutput("m"), 500),
]


@pytest.mark.parametrize(("error", "status"), EXPECTED)
def test_each_error_has_its_status_and_message(error: Exception, status: int) -> None:
    reply = error_reply(error, "id-1")
    assert reply.status == status
    assert json.loads(reply.body) == {"error": str(error)}


def test_every_row_is_tested() -> None:
    assert {type(error) for error, _ in EXPECTED} | {errors.RequestError} == set(STATUS)


def test_a_status_error_has_its_own_status() -> None:
    error = errors.StatusError("n", "its server answered 422: no", 422)
    assert error_reply(error, "id-1").status == 422
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.node, copy.reason, copy.status, str(copy)) == ("n", error.reason, 422, str(error))


def test_a_subclass_has_the_status_of_its_nearest_base() -> None:
    class Narrower(NodeError):
        pass

    assert status_of(Narrower("n", "m")) == 500
    assert status_of(AnabranchError("m")) is None


def test_what_to_do_next_is_in_the_headers() -> None:
    assert error_reply(Unavailable("m", 7), "i").headers == ((b"retry-after", b"7"),)
    assert error_reply(Interrupted("m", 7), "i").headers == (
        (b"retry-after", b"7"), (b"anabranch-interrupted", b"true"),
    )  # fmt: skip
    assert error_reply(MethodNotAllowed("PUT", ["POST", "GET"]), "i").headers == (
        (b"allow", b"GET, POST"),
    )
    assert error_reply(SlowBody("m"), "i").headers == ((b"connection", b"close"),)


def test_the_unexpected_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("/srv/secret")
    except KeyError as error:
        with caplog.at_level(logging.ERROR, "anabranch.router"):
            reply = error_reply(error, "id-1")
    assert (reply.status, json.loads(reply.body)) == (
        500,
        {"error": "internal error; request id id-1"},
    )
    assert "id-1" in caplog.text
    assert "/srv/secret" in caplog.text
    assert "Traceback" in caplog.text


@given(st.text(st.characters(), max_size=50), st.integers(1, 3000))
def test_error_bodies_are_short_json_whatever_the_message(text: str, times: int) -> None:
    body = error_body(text * times)
    assert len(body) <= MAX_ERROR_BODY
    told = json.loads(body)["error"]
    whole = (text * times).encode("utf-8", "replace").decode()
    assert told == whole or (told.endswith("...") and whole.startswith(told[:-3]))


@pytest.mark.parametrize("unit", ["a", "é", "\U0001f600", "\x00", '"', "é\x00"])
def test_little_is_cut_from_a_long_message(unit: str) -> None:
    assert len(error_body(unit * 10_000)) > MAX_ERROR_BODY * 0.75


def test_errors_cross_processes() -> None:
    copy = pickle.loads(pickle.dumps(MethodNotAllowed("PUT", ["GET"])))
    assert (str(copy), copy.allowed) == ("method PUT is not allowed here; use GET", ("GET",))
