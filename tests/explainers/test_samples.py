"""Samples that explainers are fitted on: what is read, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from anabranch.components.artefacts import sample_files
from anabranch.components.contract import CannotLoad
from anabranch.errors import ArtefactError
from anabranch.explainers import samples
from tests.explainers.local import node

X = np.arange(6.0).reshape(3, 2)


def read(root, name, label=None, columns=()):
    spec = node(type="explainer", method="ale", data=name, inputs={})
    return samples.read(spec, root, label, columns)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u1", "?"])
def test_arrays(tmp_path, dtype):
    np.save(tmp_path / "x.npy", X.astype(dtype))
    found = read(tmp_path, "x.npy")
    np.testing.assert_array_equal(found.x, X.astype(dtype))
    assert found.x.dtype == dtype
    assert (found.y, found.names) == (None, ())


def test_named_arrays(tmp_path):
    np.savez(tmp_path / "s.npz", x=X, y=["a", "b", "a"], feature_names=["p", "q"])
    found = read(tmp_path, "s.npz")
    assert found.y.tolist() == ["a", "b", "a"]
    assert found.names == ("p", "q")
    np.savez_compressed(tmp_path / "plain.npz", x=X)
    assert read(tmp_path, "plain.npz").names == ()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["1", "0", "1"], [1, 0, 1]), (["1.5", "0", "2"], [1.5, 0, 2]), (["a", "b", "a"], None)],
)
def test_tables(tmp_path, labels, expected):
    lines = ["p, kind,q", *(f"{a},{y},{b}" for (a, b), y in zip(X.tolist(), labels, strict=True))]
    (tmp_path / "s.csv").write_text("\n".join(lines))
    found = read(tmp_path, "s.csv", "kind")
    np.testing.assert_array_equal(found.x, X)
    assert found.names == ("p", "q")
    assert found.y.tolist() == (labels if expected is None else expected)


def test_a_table_of_numbers_without_labels(tmp_path):
    (tmp_path / "s.csv").write_text('"a, b",c\n1,2\n3,4\n')
    found = read(tmp_path, "s.csv")
    assert found.names == ("a, b", "c")
    assert found.x.tolist() == [[1, 2], [3, 4]]


COLUMNS = [
    samples.Column("home_town", "BYTES"),
    samples.Column("age", "FP64"),
    samples.Column("kind", None),
    samples.Column("size", None),
]


def test_columns_are_found_by_name_and_texts_have_codes(tmp_path):
    (tmp_path / "s.csv").write_text(
        "id,size,kind,age,truth,home town\na,1.5,b,3,yes,Rome\nb,2,a,4,no,007\n"
    )
    found = read(tmp_path, "s.csv", "truth", COLUMNS)
    assert found.names == ("home town", "age", "kind", "size")
    assert found.x.tolist() == [[1, 3, 1, 1.5], [0, 4, 0, 2]]
    assert {index: one.texts for index, one in found.codes.items()} == {
        0: ("007", "Rome"), 2: ("a", "b"),
    }  # fmt: skip
    assert found.y.tolist() == ["yes", "no"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,kind,size\n1,2,3\n", "it lacks home_town, inputs of the explained model; it has age"),
        ("home_town,age,kind,size\nRome,old,1,1\n", "could not convert string 'old'"),
    ],
)
def test_columns_that_are_not_the_model_s(tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(CannotLoad, match=message):
        read(tmp_path, "s.csv", None, COLUMNS)


def test_named_arrays_in_the_order_of_the_columns(tmp_path):
    np.savez(tmp_path / "s.npz", x=X, feature_names=["p", "q"])
    columns = [samples.Column("q", "FP32"), samples.Column("p", None)]
    found = read(tmp_path, "s.npz", None, columns)
    assert (found.x.tolist(), found.names) == (X[:, ::-1].tolist(), ("q", "p"))
    np.savez(tmp_path / "plain.npz", x=X)
    assert read(tmp_path, "plain.npz", None, columns).x.tolist() == X.tolist()


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    trap = np.array([[Trap()]], dtype=object)
    np.save(tmp_path / "x.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=trap)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(CannotLoad, match=rf"data '{name}' cannot be read: .*[Oo]bject"):
            read(tmp_path, name)
    assert not (tmp_path / "sprung").exists()


def test_what_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_files, "MAX_BYTES", 1000)
    np.save(tmp_path / "x.npy", np.zeros((100, 2)))
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((10_000, 20)))
    for name in ("x.npy", "bomb.npz"):
        with pytest.raises(CannotLoad, match="bytes, at most 1000 are read: take a sample of it"):
            read(tmp_path, name)


def test_a_header_that_asks_for_more_than_there_is(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (2**50, 2)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(CannotLoad, match=r"data 'x\.npy' cannot be read"):
        read(tmp_path, "x.npy")


@pytest.mark.parametrize(
    ("name", "content", "label", "message"),
    [
        ("s.csv", "", None, "no columns of features"),
        ("s.csv", "a\n1\n", "a", "no columns of features"),
        (
            "s.csv",
            "a,b\n1,x\n",
            None,
            r"could not convert string 'x' to float64 at row 0, column 2",
        ),
        ("s.csv", "a,b\n1\n", None, "cannot be read"),
        ("s.csv", "a,b\n1,2\n", "c", "no column 'c' .available: a, b"),
        ("s.npy", "nothing", None, "cannot be read"),
        ("s.npz", "nothing", None, "cannot be read"),
        ("s.txt", "1", None, "data 's.txt' is none of .npy, .npz, .csv"),
        ("s.npy", "", "a", "'label' names a column of a .csv, but data 's.npy' is none"),
    ],
)
def test_what_is_no_sample(tmp_path, name, content, label, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(CannotLoad, match=message) as raised:
        read(tmp_path, name, label)
    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": X}, "no array 'x' .*available: z"),
        ({"x": np.zeros(3)}, r"float64\[3\] is no sample"),
        ({"x": np.zeros((0, 3))}, r"float64\[0, 3\] is no sample"),
        ({"x": np.array([["a"]])}, "is no sample: numbers in rows"),
        ({"x": X, "y": np.zeros(2)}, r"3 rows, but labels \[2\]"),
        ({"x": X, "feature_names": ["a"]}, "2 features, but 1 names"),
    ],
)
def test_arrays_that_do_not_go_together(tmp_path, arrays, message):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(CannotLoad, match=message):
        read(tmp_path, "s.npz")


def test_what_is_not_there(tmp_path):
    with pytest.raises(ArtefactError, match=r"data 'x\.npy': there is no file"):
        read(tmp_path, "x.npy")
