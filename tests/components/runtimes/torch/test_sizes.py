"""Batches of fixed sizes, on the CPU: which size is taken, and what comes back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from anabranch.components.runtimes.torch.sizes import by_size, fitting, padded  # noqa: E402
from tests.examples import examples  # noqa: E402


@pytest.mark.parametrize(
    ("rows", "size"), [(0, None), (1, 1), (2, 8), (8, 8), (9, 32), (32, 32), (33, None)]
)
def test_the_smallest_size_that_holds_them(rows, size):
    assert fitting([1, 8, 32], rows) == size


@given(st.lists(st.integers(1, 100), min_size=1), st.integers(0, 120))
def test_any_size_holds_its_rows_and_none_smaller_would(sizes, rows):
    found = fitting(sorted(sizes), rows)
    holding = [size for size in sizes if size >= rows > 0]
    assert found == min(holding, default=None)


def test_rows_of_zeros_stand_behind():
    tensor = torch.ones(2, 3, dtype=torch.int64)
    assert padded(tensor, 2) is tensor
    assert padded(tensor, 4).tolist() == [[1] * 3] * 2 + [[0] * 3] * 2
    assert padded(tensor, 4).dtype == torch.int64


@given(
    sizes=st.sets(st.integers(1, 12), min_size=1, max_size=3),
    rows=st.integers(0, 14),
    named=st.booleans(),
)
@settings(max_examples=examples(100), deadline=None)
def test_every_number_of_rows_gets_its_own_answer(sizes, rows, named):
    seen = []

    def model(tensors):
        seen.append(len(tensors[0]))
        total = tensors[0] + 2 * tensors[1]
        return {"sum": total, "double": 2 * total} if named else total

    def recorded(size):
        def call(tensors):
            assert [len(tensor) for tensor in tensors] == [size, size]
            return model(tensors)

        return call

    tensors = [torch.arange(rows * 2.0).reshape(rows, 2), torch.ones(rows, 2)]
    found = by_size({size: recorded(size) for size in sizes}, model)(tensors)
    expected = model(tensors)
    assert seen[0] == (fitting(sorted(sizes), rows) or rows)
    if named:
        assert {name: one.tolist() for name, one in found.items()} == {
            name: one.tolist() for name, one in expected.items()
        }
    else:
        assert torch.equal(found, expected)


def test_inputs_with_different_numbers_of_rows_go_to_the_model_as_they_are():
    call = by_size({4: lambda tensors: 1 / 0}, lambda tensors: [len(one) for one in tensors])
    assert call([torch.ones(2), torch.ones(3)]) == [2, 3]
