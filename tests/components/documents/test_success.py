from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.errors import DeadlineExceeded, StatusError, Unavailable

INPUTS = {"document": "a.output", "status": "a.status"}


@pytest.fixture
def checked(node):
    made = node(type="transformer", method="require_success", inputs=INPUTS)
    bound = bind("check", made, Path())

    def call(status, text='{"a": 1}'):
        return bound.call(document=np.array([text], object), status=np.array([status], np.int32))

    return call


@pytest.mark.parametrize("status", [200, 201, 299])
def test_a_success_is_given_on(checked, status):
    assert checked(status).tolist() == ['{"a": 1}']


@pytest.mark.parametrize(
    ("status", "error", "shown"),
    [
        (199, StatusError, 502),
        (302, StatusError, 502),
        (400, StatusError, 400),
        (404, StatusError, 404),
        (429, StatusError, 429),
        (500, StatusError, 500),
        (599, StatusError, 599),
        (600, StatusError, 502),
        (503, Unavailable, None),
        (504, DeadlineExceeded, None),
    ],
)
def test_any_other_status_is_the_error_of_the_node(checked, status, error, shown):
    with pytest.raises(error, match=f"node 'check' failed: its server answered {status}") as raised:
        checked(status, '{"error":\n "no"}')
    assert str(raised.value).endswith(f'{status}: {{"error": "no"}}')
    assert getattr(raised.value, "status", None) == shown


def test_a_long_answer_is_cut(checked):
    with pytest.raises(StatusError) as raised:
        checked(400, "x" * 10_000)
    assert len(str(raised.value)) < 1600


@pytest.mark.parametrize("inputs", [{"document": "a"}, {"document": "a", "state": "b"}])
def test_other_inputs_are_mistakes(node, inputs):
    made = node(type="transformer", method="require_success", inputs=inputs)
    ((path, message),) = registry.problems(made)
    assert (path, message) == (("inputs",), "require_success takes the inputs document and status")
