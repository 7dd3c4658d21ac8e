from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from anabranch.components.contract import CannotLoad
from anabranch.errors import InvalidRequest
from anabranch.explainers.function import Function
from anabranch.explainers.text_codes import TextCodes
from tests.explainers.local import tensor


class Echo(SimpleNamespace):
    """A model that keeps what it was asked."""

    def __call__(self, inputs):
        self.asked = dict(inputs)
        numbers = [array for array in inputs.values() if array.dtype != object]
        return {"sum": sum(array.reshape(len(array), -1).sum(axis=1) for array in numbers)}


def model(outputs=None, **inputs):
    return Echo(inputs=inputs, outputs=outputs)


def test_one_input_and_one_output():
    echo = model(x=tensor("FP32", 2))
    function = Function(echo, None, None)
    rows = function.rows({"x": np.ones((3, 2))})
    assert function(rows).tolist() == [2, 2, 2]
    assert echo.asked["x"].dtype == np.float32
    assert function.output == "sum"


def test_columns_have_the_rank_and_the_type_of_their_inputs():
    echo = model(a=tensor("INT64"), b=tensor("FP32", 1))
    function = Function(echo, None, None, columns=True)
    rows = function.rows({"a": np.array([1, 2]), "b": np.array([[0.5], [1.5]])})
    assert rows.tolist() == [[1, 0.5], [2, 1.5]]
    assert function(rows).tolist() == [1.5, 3.5]
    assert (echo.asked["a"].dtype, echo.asked["a"].shape) == (np.int64, (2,))
    assert (echo.asked["b"].dtype, echo.asked["b"].shape) == (np.float32, (2, 1))
    with pytest.raises(InvalidRequest, match=r"input 'b' has shape \[2, 2\]"):
        function.rows({"a": np.array([1, 2]), "b": np.ones((2, 2))})


def test_codes_are_texts_for_the_model():
    echo = model(kind=tensor("BYTES", 1), size=tensor("FP32"))
    function = Function(echo, None, None, columns=True)
    assert function.texts == ("kind",)
    function.use_codes({0: TextCodes("kind", ["a", "b"])})
    inputs = {"kind": np.array([["b"], ["a"]], dtype=object), "size": np.array([1.5, 2])}
    rows = function.rows(inputs)
    assert rows.tolist() == [[1, 1.5], [0, 2]]
    assert function(rows).tolist() == [1.5, 2]
    assert echo.asked["kind"].tolist() == [["b"], ["a"]]
    assert echo.asked["size"].dtype == np.float32


def test_each_column_of_a_sample_is_what_its_input_can_hold():
    echo = model(a=tensor("FP64"), b=tensor("FP32"))
    rounded = Function(echo, None, None, columns=True).rounded(np.full((1, 2), 0.1))
    assert rounded.tolist() == [[0.1, float(np.float32(0.1))]]


def test_other_inputs_go_along_with_each_row():
    echo = model(x=None, sign=None)
    function = Function(echo, "x", None, columns=True)
    inputs = {"x": np.ones((2, 3)), "sign": np.array([4.0, 5.0])}
    assert function.others == ("sign",)
    assert function(np.zeros((3, 3)), function.held(inputs, 1)).tolist() == [5, 5, 5]
    assert echo.asked["sign"].tolist() == [5, 5, 5]


@pytest.mark.parametrize("first", ["sample", "request"])
def test_what_is_not_known_is_taken_from_the_sample_or_the_first_request(first):
    echo = model(x=None)
    function = Function(echo, None, None)
    row = np.ones((1, 2), np.float32 if first == "request" else np.float64)
    if first == "sample":
        assert function.rounded(np.full((1, 2), 0.1, np.float32)).dtype == np.float64
    function(function.rows({"x": row}).astype(np.float64))
    assert echo.asked["x"].dtype == np.float32


def test_a_sample_is_what_the_input_can_hold():
    sample = np.full((1, 2), 0.1)
    assert Function(model(x=tensor("FP64", 2)), None, None).rounded(sample)[0, 0] == 0.1
    rounded = Function(model(x=tensor("FP32", 2)), None, None).rounded(sample)
    assert rounded[0, 0] == float(np.float32(0.1)) != 0.1


def test_what_is_not_clear_is_asked_for_by_name():
    with pytest.raises(CannotLoad, match=r"has the inputs a, b; name one: args: \{input: "):
        Function(model(a=None, b=None), None, None)
    with pytest.raises(CannotLoad, match=r"no input .c. .*available: a, b"):
        Function(model(a=None, b=None), "c", None)
    with pytest.raises(CannotLoad, match="has the outputs p, q; name one"):
        Function(model({"p": None, "q": None}, a=None), None, None)
    with pytest.raises(CannotLoad, match="no output 'r'"):
        Function(model({"p": None}, a=None), None, "r")
    function = Function(model(a=None), None, "r")
    with pytest.raises(ValueError, match=r"gave no output .r. .*available: sum"):
        function(np.ones((1, 1)))
