"""From what a person types to a request."""

import json

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from anabranch.cli.input import tensors
from anabranch.errors import InvalidRequest

NO_ARRAY = r"a\.npy is no \.npy file of .*; arrays of Python objects are not taken"
METADATA = {
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "words", "datatype": "BYTES", "shape": [-1]},
    ]
}


def test_a_value_takes_datatype_and_shape_from_the_graph():
    body = tensors.request_for(METADATA, {"x": [[1, 2, 3], [4, 5, 6]], "words": ["a", "b"]})
    assert body == {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]},
            {"name": "words", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]},
        ]
    }


def test_an_unknown_input_lists_the_known_ones():
    with pytest.raises(InvalidRequest, match="no input 'y'; it has: x, words"):
        tensors.request_for(METADATA, {"y": 1})


def test_values_come_inline_and_from_files(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    (tmp_path / "b.json").write_text("[[1.5]]")
    found = tensors.read_inputs(
        [f"a=@{tmp_path / 'a.npy'}", f"b=@{tmp_path / 'b.json'}", 'c=["x=y"]']
    )
    assert found == {"a": [[0, 1, 2], [3, 4, 5]], "b": [[1.5]], "c": '["x=y"]'}


@pytest.mark.parametrize(
    "array",
    [np.array([{}]), np.array(["a"], object), np.array([b"a"]), np.ones(1, complex),
     np.array(["2026-01-01"], "M8[D]")],
)  # fmt: skip
def test_an_array_without_a_datatype_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(typer.BadParameter, match=NO_ARRAY):
        tensors.read_inputs([f"a=@{tmp_path / 'a.npy'}"])


@pytest.mark.parametrize("name", ["empty", "text", "archive", "cut"])
def test_a_file_that_is_no_array_is_refused(tmp_path, name):
    np.save(tmp_path / "cut.npy", np.ones(9))
    np.savez(tmp_path / "archive.npz", x=np.ones(1))
    files = {"empty": b"", "text": b"[1, 2]", "archive": (tmp_path / "archive.npz").read_bytes(),
             "cut": (tmp_path / "cut.npy").read_bytes()[:-1]}  # fmt: skip
    (tmp_path / "a.npy").write_bytes(files[name])
    with pytest.raises(typer.BadParameter, match=NO_ARRAY):
        tensors.read_inputs([f"a=@{tmp_path / 'a.npy'}"])


def test_an_input_given_twice_is_refused():
    with pytest.raises(typer.BadParameter, match="twice"):
        tensors.read_inputs(["a=1", "a=2"])


def test_a_request_from_a_file(tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"inputs": []}))
    assert tensors.read_data(f"@{path}") == {"inputs": []}


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        ({"inputs": [{"name": "x", "data": [1]}]}, True),
        ({"inputs": []}, True),
        ({"x": [1]}, False),
        ({"inputs": [1, 2]}, False),
        ({}, False),
    ],
)
def test_values_by_input_are_told_from_a_whole_request(data, whole):
    assert tensors.is_request(data) is whole


@given(
    st.lists(st.integers(1, 4), max_size=3).flatmap(
        lambda shape: st.tuples(st.just(shape), st.integers(0, 99))
    )
)
def test_shape_and_elements_of_any_array_survive(case):
    shape, seed = case
    array = np.random.default_rng(seed).integers(0, 9, shape)
    assert tensors.nested_shape("x", array.tolist()) == shape
    assert tensors.flat(array.tolist()) == array.ravel().tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", "cat"), ("3", 3), ("true", True), ('"3"', "3"), ('["a", 1]', ["a", 1]), ("", ""),
        ("NaN", "NaN"), ("-Infinity", "-Infinity"), ("[1", "[1"),
    ],
)  # fmt: skip
def test_labels_are_json_or_text(text, expected):
    assert tensors.labels(text) == expected
