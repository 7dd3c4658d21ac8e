"""The distribution of an arm's outputs, small enough to count on the way, and how far two differ.

A value's bin depends on the value alone, so that counts of routers and of arms can be added and
compared, though none knows of the others:

| output | bins |
|---|---|
| class scores: floats, two dimensions or more, rows of at most 1,000 | the class of each row |
| INT*, UINT*, BOOL | the number: ``7`` |
| BYTES | the text after an ``=``; 64 characters, with a checksum of the rest: ``=cat`` |
| other floats | eight per power of two, named by their inner edge: ``-0.0625``, ``0``, ``inf`` |

What bounds it: of a request, at most 64 rows or elements, evenly spaced, are counted; of an output,
the first 192 bins as they are, and every value beyond in one of 64 coarse bins, ``#0`` to ``#63``,
by a checksum of its bin's name. Where one of two distributions has coarse bins, both are compared
in coarse bins only, so it does not matter which bins came first. At most 16 outputs count.

Counting takes 2 to 40 microseconds per output of a request.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from zlib import crc32

import numpy as np

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import kind_of
from anabranch.components.tensors.unwarned import unwarned
from anabranch.router.measure.scores import NO_CLASS, are_scores, classes
from anabranch.router.measure.tally import Bin

MAX_OUTPUTS = 16
MAX_SAMPLES = 64
"""Rows or elements that are counted of one output of one request."""
MAX_CLASSES = 1000
"""Longest rows that are taken for class scores; longer ones are vectors."""
MAX_FINE, COARSE = 192, 64
"""Bins of one output: as they are, and coarse ones for the rest."""
MAX_TEXT = 64
_HASHED_TEXT = 4096
"""Characters of a text that decide on its bin."""
_STEPS = 16
"""Steps of the mantissa in [0, 1); it lies in [0.5, 1), so eight per power of two."""


def observe(outputs: dict[str, dict[Bin, int]], name: str, array: Array) -> None:
    """Count the values of one output of one answer in ``outputs[name]``.

    Takes any array; values of dtypes that are no datatype of the protocol are not counted.
    """
    if name not in outputs and len(outputs) >= MAX_OUTPUTS:
        return
    found = Counter(_bins(array))
    if found:
        counts = outputs.setdefault(name, {})
        for one, count in found.items():
            _count(counts, one, count)


def shift(
    one: Mapping[str, Mapping[Bin, int]], other: Mapping[str, Mapping[Bin, int]]
) -> float | None:
    """How far two arms' outputs differ: 0 for equal distributions, 1 where they share no value.

    The Jensen-Shannon distance, which is the square root of the Jensen-Shannon divergence to base
    2, and a metric (Lin: "Divergence measures based on the Shannon entropy", 1991; Endres,
    Schindelin: "A new metric for probability distributions", 2003). It is that of the output for
    which it is largest; None if there is no output that both have samples of.

    Samples are never spread exactly as what they are drawn from. Of two arms with equal
    distributions over ``k`` bins and with ``n`` and ``m`` samples, the distance is about
    ``sqrt((k - 1) * (1 / n + 1 / m) / (8 * ln 2))``: to the second order, the divergence in nats is
    ``sum((p - q) ** 2 / p) / 8``, and the mean of ``(p - q) ** 2`` is ``p * (1 - p) * (1 / n + 1 /
    m)``. So a limit must be above that, twice as a rule: with 10 classes and 1,000 samples each,
    0.06; with 100 bins, 0.19.
    """
    shared = [name for name in one if one[name] and other.get(name)]
    return max((_distance(*_comparable(one[name], other[name])) for name in shared), default=None)


def _distance(one: Mapping[Bin, int], other: Mapping[Bin, int]) -> float:
    """Return the Jensen-Shannon distance of two tables of counts, neither of them empty."""
    n, m = sum(one.values()), sum(other.values())
    terms = []
    for each in one.keys() | other.keys():
        p, q = one.get(each, 0) / n, other.get(each, 0) / m
        terms.append(_term(p, (p + q) / 2) + _term(q, (p + q) / 2))
    # An exact sum is the same in any order of the bins, whoever is first.
    return math.sqrt(min(max(math.fsum(terms) / 2, 0.0), 1.0))


def _term(p: float, middle: float) -> float:
    return p * math.log2(p / middle) if p else 0.0


def _comparable(
    one: Mapping[Bin, int], other: Mapping[Bin, int]
) -> tuple[Mapping[Bin, int], Mapping[Bin, int]]:
    """Return both as they are, or in coarse bins where one of them has such."""
    if not any(map(_is_coarse, (*one, *other))):
        return one, other
    return _coarsened(one), _coarsened(other)


def _coarsened(counts: Mapping[Bin, int]) -> Counter[Bin]:
    result: Counter[Bin] = Counter()
    for one, count in counts.items():
        result[_coarse(one)] += count
    return result


def _count(counts: dict[Bin, int], one: Bin, count: int) -> None:
    if one not in counts and len(counts) >= MAX_FINE:
        one = _coarse(one)
    counts[one] = counts.get(one, 0) + count


def _coarse(one: Bin) -> Bin:
    return one if _is_coarse(one) else f"#{crc32(str(one).encode()) % COARSE}"


def _is_coarse(one: Bin) -> bool:
    return isinstance(one, str) and one.startswith("#")


def _bins(array: Array) -> Iterable[Bin]:
    """Return the bins of an array's values, or of as many as are counted."""
    if are_scores(array) and array.shape[-1] <= MAX_CLASSES:
        return _classes(_rows(array))
    kind = _KINDS.get(kind_of(array.dtype))
    return () if kind is None else kind(array.flat[_positions(array.size)])


def _rows(array: Array) -> Array:
    shape = array.shape[:-1]
    return array[np.unravel_index(_positions(math.prod(shape)), shape)]


def _positions(size: int) -> Array:
    """Return where to look: everywhere, or at so many evenly spaced positions."""
    if size <= MAX_SAMPLES:
        return np.arange(size)
    return np.arange(MAX_SAMPLES) * size // MAX_SAMPLES


def _classes(rows: Array) -> Iterable[Bin]:
    return ["nan" if found == NO_CLASS else found for found in classes(rows).tolist()]


def _integers(values: Array) -> Iterable[Bin]:
    return map(int, values.tolist())


def _floats(values: Array) -> Iterable[Bin]:
    with unwarned():
        mantissa, exponent = np.frexp(values.astype(np.float64))
        # Towards zero, so that a bin's name is its inner edge; -0.0 + 0.0 is 0.0.
        edges = np.ldexp(np.trunc(mantissa * _STEPS) / _STEPS, exponent) + 0.0
    # Three digits tell edges apart: they are at least a sixteenth from one another.
    return [f"{edge:.3g}" for edge in edges.tolist()]


def _texts(values: Array) -> Iterable[Bin]:
    return map(_text, values.tolist())


def _text(value: object) -> Bin:
    if isinstance(value, bytes):
        value = value[:_HASHED_TEXT].decode(errors="replace")
    if not isinstance(value, str):
        return f"?{type(value).__name__}"[: MAX_TEXT + 1]
    data = value[:_HASHED_TEXT].encode(errors="replace")
    text = data.decode()
    return f"={text}" if len(text) <= MAX_TEXT else f"={text[: MAX_TEXT - 9]}…{crc32(data):08x}"


_KINDS: dict[str, Callable[[Array], Iterable[Bin]]] = {
    **dict.fromkeys("biu", _integers),
    "f": _floats,
    **dict.fromkeys("OUS", _texts),
}
"""Functions that return the bins of values, by the kind of their dtype."""
