"""The explained node as a function of one tensor, in the form that libraries take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anabranch.components.contract import CannotLoad
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.errors import InvalidRequest
from anabranch.explainers.model import Array, ExplainedModel
from anabranch.explainers.text_codes import TextCodes
from anabranch.specs.excerpts import hint, listing


class Function:
    """One input to one output of a model; rows are dimension 0 of both.

    A node with several inputs is explained in the one that ``input`` names, while the others stay
    what they are in the row (``held``). Without a name they are taken for columns where the method
    allows it (``columns``): a matrix [rows, inputs] of which each input, [rows] or [rows, 1], is
    one feature. Columns of texts are codes in that matrix (``use_codes``).
    """

    def __init__(
        self, model: ExplainedModel, input: str | None, output: str | None, *, columns: bool = False
    ) -> None:
        """Raise CannotLoad where the explained input or output is ambiguous."""
        self._model = model
        self._output = _output(model, output)
        self._fallback: np.dtype[Any] | None = None
        self.columns: tuple[str, ...] = ()
        self._codes: Mapping[int, TextCodes] = {}
        names = tuple(model.inputs)
        if input is None and len(names) > 1 and columns:
            self.columns = names
        self.input = _one("input", input, names) if not self.columns else names[0]

    @property
    def output(self) -> str:
        """Name of the output; known after the first call of the model at the latest."""
        return self._output or ""

    @property
    def others(self) -> tuple[str, ...]:
        """Names of the inputs that stay as they are in the row."""
        return tuple(n for n in self._model.inputs if n != self.input and not self.columns)

    @property
    def texts(self) -> tuple[str, ...]:
        """Names of the explained inputs that are declared as BYTES."""
        explained = self.columns or (self.input,)
        return tuple(name for name in explained if self.datatype(name) == "BYTES")

    def datatype(self, name: str) -> str | None:
        """Return the declared datatype of an input; None where it is not known."""
        spec = self._model.inputs[name]
        return None if spec is None else spec.datatype

    def use_codes(self, codes: Mapping[int, TextCodes]) -> None:
        """Take the numbers of some columns, by index, for codes of texts from now on."""
        self._codes = codes

    def rows(self, inputs: Mapping[str, Array]) -> Array:
        """Return the explained tensor of a request's tensors.

        InvalidRequest for columns of other shapes or lengths, and for texts without a code.
        """
        if self.columns:
            return self._joined([_column(inputs[name], name) for name in self.columns])
        rows = inputs[self.input]
        if self._fallback is None and rows.dtype.kind == "f":
            self._fallback = rows.dtype
        return rows

    def held(self, inputs: Mapping[str, Array], row: int) -> dict[str, Array]:
        """Return the other inputs of one row, each with a single row."""
        return {name: inputs[name][row : row + 1] for name in self.others}

    def rounded(self, sample: Array) -> Array:
        """Return a sample in FP64 after a cast to what each input takes, where that is FP32.

        From then on, an input of which nothing is known takes the sample's datatype, if a float;
        without a sample, that of the first request.
        """
        if sample.dtype.kind == "f":
            self._fallback = sample.dtype
        if not self.columns:
            return self._kept(self.input, sample)
        return np.column_stack([self._kept(n, sample[:, i]) for i, n in enumerate(self.columns)])

    def _kept(self, name: str, sample: Array) -> Array:
        kept = sample.astype(np.float32) if self._dtype(name) == np.float32 else sample
        return kept.astype(np.float64)

    def _joined(self, columns: list[Array]) -> Array:
        if len(set(map(len, columns))) > 1:
            sizes = listing(f"{n} {len(c)}" for n, c in zip(self.columns, columns, strict=True))
            raise InvalidRequest(f"the inputs have different numbers of rows: {sizes}")
        codes = self._codes
        return np.column_stack(
            [codes[i].encode(one) if i in codes else one for i, one in enumerate(columns)]
        )

    def __call__(self, rows: Array, held: Mapping[str, Array] | None = None) -> Array:
        """Return the model's output for rows; each row is sent with the inputs ``held``."""
        answers = self._model({**self._parts(rows), **_repeated(held or {}, len(rows))})
        if self._output is None:
            self._output = _only(answers)
        if self._output not in answers:
            there = hint(self._output, answers)
            raise ValueError(f"the explained node gave no output {self._output!r}{there}")
        return np.asarray(answers[self._output])

    def _parts(self, rows: Array) -> dict[str, Array]:
        if not self.columns:
            return {self.input: self._cast(self.input, rows)}
        return {name: self._part(i, name, rows[:, i]) for i, name in enumerate(self.columns)}

    def _part(self, index: int, name: str, column: Array) -> Array:
        codes = self._codes.get(index)
        values = self._cast(name, column) if codes is None else codes.decode(column)
        return values[:, None] if self._is_tall(name) else values

    def _is_tall(self, name: str) -> bool:
        spec = self._model.inputs[name]
        return spec is not None and len(spec.shape) == 2

    def _cast(self, name: str, array: Array) -> Array:
        dtype = self._dtype(name)
        return array if dtype is None else array.astype(dtype, copy=False)

    def _dtype(self, name: str) -> np.dtype[Any] | None:
        spec = self._model.inputs[name]
        return self._fallback if spec is None else to_dtype(spec.datatype)


def _output(model: ExplainedModel, wanted: str | None) -> str | None:
    if model.outputs is None:
        return wanted
    return _one("output", wanted, tuple(model.outputs))


def _one(what: str, wanted: str | None, names: Sequence[str]) -> str:
    if wanted is None:
        if len(names) == 1:
            return names[0]
        raise CannotLoad(
            f"the explained node has the {what}s {listing(names)}; name one: args: {{{what}: ...}}"
        )
    if wanted not in names:
        raise CannotLoad(f"the explained node has no {what} {wanted!r}{hint(wanted, names)}")
    return wanted


def _only(answers: Mapping[str, Any]) -> str:
    if len(answers) != 1:
        raise ValueError(
            f"the explained node gave the outputs {listing(sorted(answers))}; "
            "name one: args: {output: ...}"
        )
    return next(iter(answers))


def _column(array: Array, name: str) -> Array:
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise InvalidRequest(
            f"input {name!r} has shape {list(array.shape)}, expected [-1] or [-1, 1]: the inputs "
            "of the explained node are taken for its features; name one: args: {input: ...}"
        )
    return array


def _repeated(held: Mapping[str, Array], count: int) -> dict[str, Array]:
    return {name: np.repeat(array, count, axis=0) for name, array in held.items()}
