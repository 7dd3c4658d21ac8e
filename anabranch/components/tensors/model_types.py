"""The types that a loaded model gives for its tensors, which are often incomplete.

A component may have two attributes, set when it is loaded: ``input_types``, by parameter, and
``output_types``, by output. The engine compares them with the graph before the first request.
"""

from __future__ import annotations

from dataclasses import dataclass

from anabranch.specs.models import TensorSpec


@dataclass(frozen=True)
class ModelTensor:
    """The type of a model's tensor; None stands for an unknown or arbitrary part."""

    datatype: str | None = None
    shape: tuple[int, ...] | None = None
    """Size of each dimension; -1 stands for any size."""
    is_number: bool = False
    """Whether BYTES do not suit, where the datatype is not known."""

    def agrees(self, spec: TensorSpec) -> bool:
        """Return whether a tensor of the type ``spec`` may be of this type."""
        if self.datatype not in (None, spec.datatype):
            return False
        if self.is_number and spec.datatype == "BYTES":
            return False
        return self.shape is None or _overlap(self.shape, spec.shape)

    def __str__(self) -> str:
        unknown = "numbers" if self.is_number else None
        if self.shape is None:
            return self.datatype or unknown or "any tensor"
        return f"{self.datatype or unknown or 'any datatype'}{list(self.shape)}"


NUMBERS = ModelTensor(is_number=True)
"""Numbers of any datatype and shape."""
TEXTS = ModelTensor("BYTES")
"""BYTES of any shape."""


def _overlap(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    if len(one) != len(two):
        return False
    return all(left == right or -1 in (left, right) for left, right in zip(one, two, strict=True))


def model_tensor(spec: TensorSpec | None) -> ModelTensor:
    """Return a type of the graph as a model's type; None as an unknown type."""
    return ModelTensor() if spec is None else ModelTensor(spec.datatype, spec.shape)
