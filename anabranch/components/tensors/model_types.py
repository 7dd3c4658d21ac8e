"""What a loaded model knows of its tensors, which is often less than a whole type.

A component may tell it by two attributes, set when it is loaded: ``input_types``, by parameter, and
``output_types``, by output. The engine holds them against the graph before the first request.
"""

from __future__ import annotations

from dataclasses import dataclass

from anabranch.specs.models import TensorSpec


@dataclass(frozen=True)
class ModelTensor:
    """A tensor of a model; None stands for what is not known, or may be anything."""

    datatype: str | None = None
    shape: tuple[int, ...] | None = None
    """Sizes per dimension; -1 stands for any size."""

    def agrees(self, spec: TensorSpec) -> bool:
        """Tell whether a tensor of the type ``spec`` may be this one."""
        if self.datatype not in (None, spec.datatype):
            return False
        return self.shape is None or _overlap(self.shape, spec.shape)

    def __str__(self) -> str:
        if self.shape is None:
            return self.datatype or "any tensor"
        return f"{self.datatype or 'any datatype'}{list(self.shape)}"


def _overlap(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    if len(one) != len(two):
        return False
    return all(left == right or -1 in (left, right) for left, right in zip(one, two, strict=True))


def model_tensor(spec: TensorSpec | None) -> ModelTensor:
    """Return a whole type, or none at all, as what a model knows."""
    return ModelTensor() if spec is None else ModelTensor(spec.datatype, spec.shape)
