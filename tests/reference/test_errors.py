"""Every error is described with what clients get of it."""

from __future__ import annotations

import pytest

from anabranch import errors
from anabranch.reference.errors import classes, tables
from anabranch.router.errors import status_of
from anabranch.router.grpc.codes import code_of

PAGE = tables()


def test_every_error_has_a_row() -> None:
    exported = [name for name in dir(errors) if isinstance(getattr(errors, name), type)]
    wanted = {name for name in exported if issubclass(getattr(errors, name), errors.AnabranchError)}
    assert {kind.__name__ for kind in classes(errors)} == wanted
    for name in wanted:
        assert f"| `{name}` |" in PAGE


@pytest.mark.parametrize(
    "error", [errors.InvalidRequest("x"), errors.Unavailable("x"), errors.LeaseLost("x")]
)
def test_the_row_has_the_status_that_clients_get(error: Exception) -> None:
    name = f"| `{type(error).__name__}` |"
    (row,) = [line for line in PAGE.splitlines() if line.startswith(name)]
    code = code_of(error)
    assert code is not None
    assert row.endswith(f"| {status_of(error)} | `{code.name}` |")


def test_an_error_that_no_request_gets_has_no_status() -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| `SpecError` |")]
    assert row.endswith("|  |  |")
