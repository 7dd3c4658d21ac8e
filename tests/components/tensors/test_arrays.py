from __future__ import annotations

import numpy as np
import pytest

from anabranch.components.tensors.arrays import to_array, to_bf16, to_torch
from anabranch.components.tensors.datatypes import BF16, DTYPES


@pytest.mark.parametrize("dtype", [d for d in DTYPES.values() if d.kind != "O"])
def test_arrays_of_numbers_pass_unchanged(dtype):
    array = np.zeros((2, 3), dtype)
    array.flags.writeable = False
    assert to_array(array) is array


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (1.5, "float64", ()),
        (True, "bool", ()),
        ([1, 2], "int64", (2,)),
        ([], "float64", (0,)),
        ("text", "object", ()),
        (["a", "bcd"], "object", (2,)),
        (np.array(["a", "b"]), "object", (2,)),
        (np.array([b"a", "b"], dtype=object), "object", (2,)),
        (np.float32(3), "float32", ()),
        (np.zeros(2, ">f4"), "float32", (2,)),
        (np.ma.masked_array([1.0, 2.0]), "float64", (2,)),
    ],
)
def test_other_values_become_arrays(value, dtype, shape):
    array = to_array(value)
    assert type(array) is np.ndarray
    assert (array.dtype, array.shape) == (np.dtype(dtype), shape)
    assert array.dtype.isnative


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "holds a NoneType"),
        (np.array([1, "a"], dtype=object), "holds a int"),
        ([[1], [2, 3]], "a list cannot be a tensor"),
        ({1, 2}, "a set cannot be a tensor"),
        ({"a": 1}, "a dict cannot be a tensor"),
        (object(), "holds a object"),
        (np.zeros(2, complex), "dtype complex128"),
        (np.zeros(2, "datetime64[s]"), "datetime64"),
        (np.zeros(2, np.longdouble), "longdouble|float128"),
        (np.ma.masked_array([1.0, 2.0], mask=[True, False]), "masked"),
    ],
)
def test_what_cannot_be_a_tensor_is_refused(value, message):
    with pytest.raises(TypeError, match=message):
        to_array(value)


def test_sparse_matrices_become_dense():
    sparse = pytest.importorskip("scipy.sparse")
    for made in (sparse.csr_matrix([[0, 1.5]]), sparse.coo_array([[0, 1.5]])):
        assert to_array(made).tolist() == [[0, 1.5]]


def test_torch_tensors_become_arrays():
    torch = pytest.importorskip("torch")
    assert to_array(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    assert to_array(torch.eye(2).to_sparse()).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(TypeError, match="NumPy has no float8_e4m3fn"):
        to_array(torch.ones(2, dtype=torch.float8_e4m3fn))


@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3)])
def test_bf16_goes_to_torch_and_back(shape):
    torch = pytest.importorskip("torch")
    array = to_bf16(np.full(shape, 0.1))
    tensor = to_torch(array)
    assert tensor.dtype == torch.bfloat16
    assert tensor.shape == shape
    back = to_array(tensor.T if len(shape) == 2 else tensor)
    assert back.dtype == BF16
    assert back.tolist() == array.T.tolist()


def test_arrays_become_torch_tensors_without_letting_read_only_memory_be_written():
    pytest.importorskip("torch")
    array = np.arange(4.0)
    to_torch(array)[0] = 9
    assert array[0] == 9
    array.flags.writeable = False
    to_torch(array)[0] = 1
    assert array[0] == 9
    for odd in (np.arange(4.0)[::-1], np.arange(4, dtype=">i4"), np.float32(2) * np.ones(())):
        assert to_torch(odd).tolist() == odd.tolist()
    with pytest.raises(TypeError, match="dtype object cannot be a torch tensor"):
        to_torch(np.array(["a"], dtype=object))


@pytest.mark.parametrize(
    ("number", "nearest"),
    [
        (1 + 2**-8, 1.0),
        (1 + 2**-8 + 2**-40, 1 + 2**-7),
        (1 + 2**-8 - 2**-40, 1.0),
        (1 + 3 * 2**-8, 1 + 2**-6),
        (1 + 3 * 2**-8 - 2**-40, 1 + 2**-7),
        (-(1 + 2**-8 + 2**-40), -(1 + 2**-7)),
        (3.3961775292304598e38, 3.3895313892515355e38),
        (2**-133, 2**-133),
        (0.0, 0.0),
        (float("inf"), float("inf")),
    ],
)
def test_bf16_is_rounded_once(number, nearest):
    for shape in ((), (1,), (1, 1)):
        found = to_bf16(np.full(shape, number))
        assert found.dtype == BF16
        assert float(found.reshape(-1)[0]) == nearest


def test_bf16_keeps_nan():
    assert np.isnan(to_bf16(np.array([np.nan]))).all()
