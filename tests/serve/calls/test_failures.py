from __future__ import annotations

import asyncio
import inspect
import pickle

import pytest
import ray.exceptions
import ray.serve.exceptions

from anabranch.errors import (
    AnabranchError,
    DeadlineExceeded,
    InvalidRequest,
    NodeError,
    Unavailable,
)
from anabranch.serve.calls.failures import MAPPED, own_error, translated


def classes(module: object) -> list[type[BaseException]]:
    return [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, BaseException) and cls.__module__ == getattr(module, "__name__", "")
    ]


@pytest.mark.parametrize("module", [ray.exceptions, ray.serve.exceptions])
def test_every_error_of_ray_is_mapped(module: object) -> None:
    assert [cls.__name__ for cls in classes(module) if cls not in MAPPED] == []


def task_error(cause: Exception) -> ray.exceptions.RayTaskError:
    error = ray.exceptions.RayTaskError("evaluate", "Traceback: secret", cause, "proc", 1, "host")
    return error.as_instanceof_cause()


@pytest.mark.parametrize(
    "cause",
    [NodeError("net", "it broke"), Unavailable("later", 7), DeadlineExceeded("late")],
)
def test_what_a_replica_raised_arrives_as_it_was(cause: AnabranchError) -> None:
    found = own_error("net", task_error(cause))
    assert type(found) is type(cause)
    assert (str(found), vars(found)) == (str(cause), vars(cause))
    assert pickle.loads(pickle.dumps(found)).args == found.args


def test_a_foreign_error_names_the_segment_and_holds_no_traceback() -> None:
    found = own_error("net", task_error(ZeroDivisionError("division by zero")))
    assert isinstance(found, NodeError)
    assert str(found) == "node 'net' failed: ZeroDivisionError: division by zero"


def test_an_error_of_ray_inside_a_task_error_is_mapped_too() -> None:
    found = own_error("net", task_error(ray.exceptions.GetTimeoutError("slow")))
    assert isinstance(found, DeadlineExceeded)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ray.exceptions.ActorDiedError(), Unavailable),
        (ray.exceptions.ActorUnavailableError("gone", b"\0" * 16), Unavailable),
        (ray.exceptions.OutOfMemoryError("killed"), Unavailable),
        (ray.exceptions.TaskCancelledError(), Unavailable),
        (ray.serve.exceptions.RequestCancelledError("id"), Unavailable),
        (ray.serve.exceptions.BackPressureError(3, 2), Unavailable),
        (ray.exceptions.GetTimeoutError("slow"), DeadlineExceeded),
        (ray.exceptions.RaySystemError("broken"), NodeError),
        (ValueError("odd"), NodeError),
    ],
)
def test_the_most_specific_error_of_ours(error: Exception, expected: type[AnabranchError]) -> None:
    found = own_error("net", error)
    assert type(found) is expected
    assert "'net'" in str(found)


def test_translation_leaves_own_errors_and_cancellation_alone() -> None:
    with pytest.raises(InvalidRequest, match="no"), translated("net"):
        raise InvalidRequest("no")
    with pytest.raises(asyncio.CancelledError), translated("net"):
        raise asyncio.CancelledError
    with pytest.raises(NodeError) as caught, translated("net"):
        raise task_error(NodeError("net", "it broke"))
    assert type(caught.value) is NodeError
    assert caught.value.__cause__ is None
