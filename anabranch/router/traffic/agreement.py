"""Whether a mirror's answer is as good as the one that the client got."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import kind_of
from anabranch.components.tensors.unwarned import unwarned
from anabranch.router.measure.scores import are_scores, classes
from anabranch.specs.models import Compare

_CHUNK = 2**16
"""Elements that are compared at a time: what that takes in memory, and what a first difference
saves."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of two answers to one request. Close answers agree."""

    agreed: bool
    """Every output has equal classes, or is close where it is no class scores."""
    close: bool
    """Every output is equal, floats within the tolerance."""


_EQUAL = Comparison(agreed=True, close=True)
_DIFFERENT = Comparison(agreed=False, close=False)


def compare(primary: Mapping[str, Array], copy: Mapping[str, Array], rule: Compare) -> Comparison:
    """Compare a mirror's outputs with those that the client got. Never raises.

    Outputs of other names or shapes, or of another kind (floats, integers, BOOL, BYTES), neither
    agree nor are close; how many bits a number has does not matter. Floats are close if
    ``abs(copy - primary) <= atol + rtol * abs(primary)``, or both are NaN or the same infinity;
    anything else if it is equal. Class scores agree if the same class wins in every row; two rows
    without a winner, for a NaN in both, agree too.
    """
    if primary.keys() != copy.keys():
        return _DIFFERENT
    found = [_compare(array, copy[name], rule) for name, array in primary.items()]
    return Comparison(all(one.agreed for one in found), all(one.close for one in found))


def _compare(primary: Array, copy: Array, rule: Compare) -> Comparison:
    family = _FAMILIES.get(kind_of(primary.dtype))
    same_type = primary.shape == copy.shape and family is _FAMILIES.get(kind_of(copy.dtype))
    if family is None or not same_type:
        return _DIFFERENT
    if _in_chunks(family, primary, copy, rule):
        return _EQUAL
    agreed = are_scores(primary) and np.array_equal(classes(primary), classes(copy))
    return Comparison(agreed, close=False)


_Test = Callable[[Array, Array, Compare], bool]


def _in_chunks(test: _Test, primary: Array, copy: Array, rule: Compare) -> bool:
    """Tell whether a test holds for all elements of two arrays of one shape."""
    one, other = primary.reshape(-1), copy.reshape(-1)
    return all(
        test(one[start : start + _CHUNK], other[start : start + _CHUNK], rule)
        for start in range(0, one.size, _CHUNK)
    )


def _floats(primary: Array, copy: Array, rule: Compare) -> bool:
    if primary.dtype == copy.dtype and primary.tobytes() == copy.tobytes():
        return True
    with unwarned():
        # As 64 bits: the tolerance of large half-precision numbers would overflow.
        one, other = primary.astype(np.float64), copy.astype(np.float64)
        return bool(np.isclose(other, one, rule.rtol, rule.atol, equal_nan=True).all())


def _integers(primary: Array, copy: Array, rule: Compare) -> bool:
    if primary.dtype.kind == copy.dtype.kind:
        return np.array_equal(primary, copy)
    # NumPy before 2 compares signed with unsigned 64-bit integers as floats, which are not exact.
    if (primary < 0).any() or (copy < 0).any():
        return False
    return np.array_equal(primary.astype(np.uint64), copy.astype(np.uint64))


def _bools(primary: Array, copy: Array, rule: Compare) -> bool:
    return np.array_equal(primary, copy)


def _texts(primary: Array, copy: Array, rule: Compare) -> bool:
    return all(map(_same_text, primary.tolist(), copy.tolist()))


def _same_text(one: object, other: object) -> bool:
    first, second = _data(one), _data(other)
    return first is not None and first == second


def _data(value: object) -> bytes | None:
    """Return a text as bytes; None for what is no text."""
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    return bytes(value) if isinstance(value, bytes) else None


_FAMILIES: dict[str, _Test] = {
    "f": _floats,
    **dict.fromkeys("iu", _integers),
    "b": _bools,
    **dict.fromkeys("OUS", _texts),
}
"""How to compare each kind of dtype; only kinds with the same way can be equal."""
