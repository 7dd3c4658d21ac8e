"""The explained model as a module of torch, which is imported here and only where it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch

from anabranch.components.runtimes.torch.loading import LoadedTorchModel
from anabranch.specs.excerpts import hint, listing


class Explained(torch.nn.Module):
    """A model with one input to explain and one output.

    It takes the explained input, and then the model's other inputs in their order.
    """

    def __init__(self, model: LoadedTorchModel, at: int, output: str) -> None:
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


class WeightedModule(torch.nn.Module):
    """An explained model of which only the weights of one layer are seen, or all where it is None.

    ValueError where there is no such layer with weights that take gradients.
    """

    def __init__(self, explained: Explained, layer: str | None) -> None:
        super().__init__()
        self.explained = explained
        whole = "explained.module."
        self._seen = whole if layer is None else f"{whole}{layer}."
        if layer is not None and not any(self.named_parameters()):
            names = (name.removeprefix(whole) for name, _ in super().named_parameters())
            layers = {name.rpartition(".")[0] for name in names}
            raise ValueError(f"no layer {layer!r} has weights{hint(layer, filter(None, layers))}")
        if not any(weight.requires_grad for weight in self.parameters()):
            raise ValueError("none of its weights takes gradients (requires_grad)")

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Return the explained output."""
        return self.explained(*tensors)

    def named_parameters(
        self, *args: Any, **options: Any
    ) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Yield the weights that are seen."""
        found = super().named_parameters(*args, **options)
        return (one for one in found if one[0].startswith(self._seen))

    def train(self, mode: bool = True) -> Self:
        """Leave the model as it is."""
        return self
