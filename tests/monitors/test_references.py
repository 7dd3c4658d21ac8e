from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anabranch.components.artefacts.sample_files import MAX_BYTES
from anabranch.components.contract import CannotLoad
from anabranch.monitors.references import read
from anabranch.monitors.table import MAX_FEATURES, Unfit, table_of


def test_the_only_tensor_may_be_a_bare_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 2, 3), np.float32))
    found = read("a.npy", tmp_path, ["x"])
    assert found["x"].shape == (5, 2, 3)
    with pytest.raises(CannotLoad, match=r"holds one array, and x, y are watched; write a .npz"):
        read("a.npy", tmp_path, ["x", "y"])


def test_several_go_by_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"x": np.ones(5), "net.scores": np.zeros((5, 2)), "z": 1})
    found = read("a.npz", tmp_path, ["net.scores", "x"])
    assert {name: array.shape for name, array in found.items()} == {
        "net.scores": (5, 2), "x": (5,),
    }  # fmt: skip
    with pytest.raises(CannotLoad, match=r"it has no array 'y' \(available: net.scores, x, z\)"):
        read("a.npz", tmp_path, ["y"])


def test_columns_go_by_the_names_of_tensors_or_features(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("p[0],p[1],age,word,more\n1,2,30,a,0\n3,,40,b,0\n")
    found = read("a.csv", tmp_path, ["word", "p", "age"])
    assert found["p"][0].tolist() == [1, 2] and np.isnan(found["p"][1, 1])
    assert found["age"].tolist() == [30, 40]
    assert found["word"].tolist() == ["a", "b"]
    with pytest.raises(CannotLoad, match=r"it has no column of 'aged' \(did you mean 'age'"):
        read("a.csv", tmp_path, ["aged", "p"])


def test_all_columns_are_those_of_the_only_tensor_where_none_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("height,weight\n1,2\n3,4\n")
    assert read("a.csv", tmp_path, ["x"])["x"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", r"'a.txt' is none of .npy, .npz, .csv"),
        ("b.npy", b"", "reference 'b.npy' cannot be read"),
        ("c.npz", b"no archive", "reference 'c.npz' cannot be read"),
        ("d.csv", b"", "reference 'd.csv': it is empty"),
        ("e.csv", b"x,y\n1\n", "different numbers of fields"),
    ],
)
def test_what_is_no_sample_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CannotLoad, match=message):
        read(name, tmp_path, ["x"])


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(CannotLoad, match="cannot be read"):
        read("a.npy", tmp_path, ["x"])


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(CannotLoad, match="take a sample of it"):
        read("a.npy", tmp_path, ["x"])


def test_tensors_become_features() -> None:
    table = table_of(
        {
            "age": np.array([1, 2], np.int32),
            "pixels": np.zeros((2, 1, 2), np.float16),
            "words": np.array([[b"a"], ["\u00e4"]], object),
            "flag": np.array([True, False]),
        }
    )
    assert table.names == ("age", "pixels[0,0]", "pixels[0,1]", "words[0]", "flag")
    assert table.categorical == (False, False, False, True, True)
    assert table.columns[0].dtype == np.float64
    assert table.columns[3].tolist() == ["a", "\u00e4"]
    assert table.rows == 2


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": np.array(1.0)}, "x is a single value"),
        ({"x": np.zeros((3, 0))}, "x makes 0 features; a monitor takes 1 to 1024"),
        ({"x": np.zeros((3, MAX_FEATURES + 1))}, "x makes 1025 features"),
        ({"x": np.zeros(3), "y": np.zeros(2)}, "different numbers of rows: x 3, y 2"),
    ],
)
def test_what_is_no_table_is_named(tensors: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(Unfit, match=message):
        table_of(tensors)
