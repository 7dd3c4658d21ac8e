"""Records and errors that cross processes."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.annotations import Annotations, Measure, Names, Tags
from anabranch.components.contract import Choice, Context, NodeFeedback
from anabranch.errors import (
    AnabranchError,
    DeadlineExceeded,
    LeaseLost,
    LoadError,
    NodeError,
    Position,
    Problem,
    SpecError,
    Unavailable,
)
from anabranch.graph.calls.annotated import AnnotatedValue
from anabranch.graph.calls.values import Skipped
from anabranch.graph.explain.answers import ExplainerReply, NoExplainer
from anabranch.router.errors import UnencodableOutput
from anabranch.router.http.headers import RequestHeaders
from anabranch.router.inference.contract import Evaluated, Verdict
from anabranch.serve.streams import records
from anabranch.specs.models import Compare
from anabranch.telemetry.trace import Trace
from tests.examples import examples
from tests.serve.streams.test_values import crossed

RECORDS = [
    Choice("forest", (1.5, 2.0)),
    Choice("forest"),
    Skipped("it failed"),
    Annotations(Tags(a=1, b="é"), Names(x=["c"]), [Measure("n", "gauge", "m", -0.5)]),
    AnnotatedValue({"node": [1, 2]}, Annotations(Tags(a=True))),
    Skipped("it is optional", has_failed=False),
    Trace("1" * 32, "2" * 16, "a=b"),
    Verdict(True, False, 0.25),
    ExplainerReply("kernel", b"[]", 0.5, 3, 4, True),
    Compare(rtol=0.5, atol=2.0),
    Compare(),
    Problem(("spec", 1, "x"), "no", Position(1, 2), "a.yaml"),
    NodeFeedback("7", 0.5, ["cat"], {"r": "a"}, {}, {"x": ["c"]}),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: type(one).__name__)
def test_records_arrive_as_they_were(record: Any) -> None:
    found = crossed({"node": record})["node"]
    assert type(found) is type(record)
    assert found == record
    if isinstance(record, Choice):
        assert found.features == record.features


def test_every_field_of_the_records_is_taken() -> None:
    taken = {type(one) for one in RECORDS} | {Context, Evaluated, Position}
    assert taken == {one.cls for one in records.RECORDS}


def test_an_evaluation_arrives_with_its_arrays() -> None:
    found = crossed(Evaluated({"y": np.arange(3)}, 0.5, {"router": "forest"}))
    assert (found.seconds, found.path) == (0.5, {"router": "forest"})
    assert found.outputs["y"].tolist() == [0, 1, 2]


def test_a_context_arrives_with_the_time_that_remains() -> None:
    given = Context(
        "é",
        MappingProxyType({"x-user": "ü", "a": "b"}),
        MappingProxyType({"priority": 3, "f": 0.5, "s": "t", "b": True}),
        time.monotonic() + 60,
        {"router": "forest"},
        Trace("1" * 32, "2" * 16),
        is_traffic=False,
        annotations=Annotations(Tags(a=1)),
    )
    found = crossed(given)
    assert found.deadline is not None and given.deadline is not None
    assert 0 <= found.deadline - given.deadline < 30
    assert 0 < found.remaining() <= 60
    for name in ("id", "path", "trace", "is_traffic", "annotations"):
        assert getattr(found, name) == getattr(given, name)
    assert found.headers == dict(given.headers)
    assert found.parameters == dict(given.parameters)
    assert [type(one) for one in found.parameters.values()] == [int, float, str, bool]


def test_a_context_without_a_deadline_and_one_that_is_late() -> None:
    assert crossed(Context()) == Context()
    late = crossed(Context(deadline=time.monotonic() - 9))
    assert late.remaining() == 0.0


class OwnError(NodeError):
    """An error of a component, with arguments of its own."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__("own", f"code {code}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (OwnError, (self.code,))


class UglyError(AnabranchError):
    """An error that cannot be taken apart."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise ValueError("no")


ERRORS = [
    NodeError("forest", "reasons"),
    Unavailable("full", 7),
    LeaseLost("lost", 3),
    DeadlineExceeded("late"),
    LoadError("drift", "gone", "monitor"),
    SpecError([Problem(("a",), "b", Position(3, 4)), Problem((), "c")]),
    NoExplainer("none"),
    UnencodableOutput("output 'y': no"),
    OwnError(7),
    AnabranchError(),
    AnabranchError("a", 1, [2.5]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda one: type(one).__name__)
def test_errors_arrive_as_they_were(error: AnabranchError) -> None:
    found = crossed(error)
    assert type(found) is type(error)
    assert (str(found), found.args, vars(found)) == (str(error), error.args, vars(error))
    assert found.__traceback__ is None


def test_an_error_that_cannot_be_taken_apart_keeps_its_text() -> None:
    found = crossed(UglyError("text"))
    assert (type(found), str(found)) == (AnabranchError, "text")
    found = crossed(NodeError(object(), "reason"))  # type: ignore[arg-type]
    assert type(found) is AnabranchError
    assert "failed: reason" in str(found)


def test_an_error_of_a_class_that_is_not_here_is_of_its_base() -> None:
    names = ["components:Gone", "anabranch.errors:Unavailable", "anabranch.errors:AnabranchError"]
    found = records.make_error(names, ["full", 9])
    assert type(found) is Unavailable
    assert (str(found), found.retry_after) == ("full", 9)


@pytest.mark.parametrize("name", ["builtins:SystemExit", "os:system", "anabranch.errors:Problem"])
def test_no_other_class_is_ever_called(name: str) -> None:
    assert type(records.make_error([name], ["x"])) is AnabranchError


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=20_000)), max_size=9))
@settings(max_examples=examples(50))
def test_headers_of_a_request_arrive_as_text_each_time(raw: list[tuple[bytes, bytes]]) -> None:
    headers = RequestHeaders(raw)
    first, second = [crossed(Context("1", headers)).headers for _ in range(2)]
    assert first == second == dict(headers.items())
    assert headers.encoded is not None
