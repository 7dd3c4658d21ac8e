"""The explained model as a module of torch, which is imported here and only where it is needed."""

from __future__ import annotations

from typing import Any, Self

import torch

from anabranch.components.hints import listing
from anabranch.components.runtimes.torch.loading import Model


class Explained(torch.nn.Module):
    """A model with one input to explain and one output.

    It takes the explained input, and then the model's other inputs in their order.
    """

    def __init__(self, model: Model, at: int, output: str) -> None:
        """``at`` is the place of the explained input; ``output`` is empty for the only one."""
        super().__init__()
        self.module = model.module
        self._model, self._at, self._output = model, at, output

    def forward(self, explained: torch.Tensor, *others: Any) -> Any:
        """Return the explained output."""
        tensors = [*others[: self._at], explained, *others[self._at :]]
        return _chosen(self._model.call(tensors), self._output)

    def train(self, mode: bool = True) -> Self:
        """Leave the model as it is: it answers as in serving, and programs refuse to be told."""
        return self


def _chosen(outputs: Any, name: str) -> Any:
    if not isinstance(outputs, dict):
        return outputs
    if name in outputs:
        return outputs[name]
    raise ValueError(
        f"the module gives the outputs {listing(outputs)}"
        + (f", none is {name!r}" if name else "; name one: args: {output: ...}")
    )
