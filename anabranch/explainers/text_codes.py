"""Codes of the texts in a column: numbers, since libraries of explanations know nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anabranch.errors import InvalidRequest
from anabranch.explainers.model import Array
from anabranch.explainers.predictions import plain_label
from anabranch.specs.excerpts import hint, shown


class TextCodes:
    """The code of a text is its place among the distinct ``texts`` of a column: 0, 1, ...."""

    def __init__(self, column: str, texts: Sequence[str]) -> None:
        self.column = column
        self.texts = tuple(texts)
        self._codes = {text: code for code, text in enumerate(self.texts)}
        self._array = np.array(self.texts, dtype=object)

    def encode(self, column: Array) -> Array:
        """Return the codes of BYTES [rows], FP64 [rows]; InvalidRequest for other texts."""
        labels = map(plain_label, column.tolist())
        return np.array([self._code(label) for label in labels], np.float64)

    def decode(self, codes: Array) -> Array:
        """Return the texts of codes [rows], BYTES [rows]."""
        texts: Array = self._array[codes.astype(np.intp)]
        return texts

    def _code(self, text: str | int) -> int:
        code = self._codes.get(str(text))
        if code is None:
            raise InvalidRequest(
                f"input {self.column!r} is {shown(text)}, which the explainer's sample does not "
                f"have{hint(str(text), self.texts)}; args.categorical_names may list more texts"
            )
        return code
