from __future__ import annotations

import logging

import pytest
from grpc import StatusCode

from anabranch import errors
from anabranch.router.errors import STATUS, SlowBody
from anabranch.router.grpc.codes import CODES, Ended, Status, code_of, shortened, status_of


def test_every_error_that_http_knows_has_a_code() -> None:
    for kind in STATUS:
        assert any(base in CODES for base in kind.__mro__), kind


def test_the_codes_agree_with_the_statuses() -> None:
    classes = {4: "caller", 5: "server"}
    caller = {
        StatusCode.INVALID_ARGUMENT,
        StatusCode.UNAUTHENTICATED,
        StatusCode.PERMISSION_DENIED,
        StatusCode.NOT_FOUND,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.FAILED_PRECONDITION,
    }
    for kind, code in CODES.items() - {(SlowBody, StatusCode.DEADLINE_EXCEEDED)}:  # 408 and 504
        assert classes[STATUS[kind] // 100] == ("caller" if code in caller else "server"), kind


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidRequest("x"), StatusCode.INVALID_ARGUMENT),
        (errors.NotFound("x"), StatusCode.NOT_FOUND),
        (errors.TooLarge("x"), StatusCode.RESOURCE_EXHAUSTED),
        (errors.NodeError("n", "x"), StatusCode.INTERNAL),
        (errors.Unavailable("x"), StatusCode.UNAVAILABLE),
        (errors.LeaseLost("x"), StatusCode.UNAVAILABLE),
        (errors.DeadlineExceeded("x"), StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_the_table_of_the_design(error: Exception, code: StatusCode) -> None:
    assert code_of(error) is code
    assert status_of(error, "id").trailer[0] == ("x-request-id", "id")


def test_who_is_refused_hears_when_to_come_again() -> None:
    assert status_of(errors.Unavailable("x", 7), "id").trailer[1] == ("retry-after", "7")


def test_what_nobody_expected_stays_here(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        status = status_of(ZeroDivisionError("/secret/path"), "id-7")
    assert status[:2] == (StatusCode.INTERNAL, "internal error; request id id-7")
    assert "/secret/path" in caplog.text


def test_a_status_from_elsewhere_is_kept() -> None:
    status = Status(StatusCode.ABORTED, "x", ())
    assert status_of(Ended(status), "id") is status


def test_long_texts_are_cut_between_characters() -> None:
    assert shortened("é" * 1024) == "é" * 1024
    assert shortened("aé" * 1024).endswith("...")
    assert len(shortened("aé" * 1024).encode()) <= 2048
    assert shortened("\ud800") == "?"
