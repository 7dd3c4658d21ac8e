"""The explained node as a network: its torch module, and its inputs as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.components.runtimes.torch import TorchModel
from anabranch.components.runtimes.torch.loading import LoadedTorchModel as LoadedModel
from anabranch.components.tensors.arrays import to_torch
from anabranch.errors import InvalidRequest
from anabranch.explainers.function import Function
from anabranch.explainers.model import Array, ExplainedModel
from anabranch.specs.models import NodeBase, Predictor

_NEEDS = "it looks into a PyTorch model: runtime torch, or a component with an attribute `module`"


def misfit(explained: NodeBase | None) -> str | None:
    """Return why a node of that spec can have no network inside; None where it can."""
    if explained is None:
        return f"{_NEEDS}; the whole graph is none"
    if explained.component is not None:
        return None
    if not isinstance(explained, Predictor) or explained.runtime != "torch":
        return _NEEDS
    return None if explained.multiplex is None else "it looks into one model, not into many"


class Network:
    """The network in a component, in evaluation mode, with one input and one output explained.

    ``explained`` is the torch module that takes the explained input first and then the others.
    """

    def __init__(
        self, model: ExplainedModel, function: Function, rewrite: Callable[[Any], Any] | None = None
    ) -> None:
        """Look into ``model``; CannotLoad where there is no network, or none that takes any rows.

        ``rewrite`` makes another module of the network's own.
        """
        self.torch = require("torch", "torch")
        loaded, self._tensors = _inside(self.torch, model)
        _check_rows(loaded)
        if rewrite is not None:
            loaded = replace(loaded, module=rewrite(loaded.module))
        self._input, self.device = function.input, loaded.device
        self._at = list(loaded.names).index(function.input)
        modules = require("anabranch.explainers.networks.modules", "torch")
        self.explained = modules.Explained(loaded, self._at, function.output)

    def tensors(self, inputs: Mapping[str, Array]) -> tuple[Any, tuple[Any, ...]]:
        """Return the explained input and the others, on the device.

        InvalidRequest where the explained one is not FP16, BF16, FP32 or FP64.
        """
        found = [one.to(self.device) for one in self._tensors(inputs)]
        explained = found.pop(self._at)
        if not explained.is_floating_point():
            dtype = str(explained.dtype).removeprefix("torch.")
            raise InvalidRequest(
                f"input {self._input!r} is {dtype}, but a network's answer is explained by "
                "inputs of floats only; explain another input: args: {input: ...}"
            )
        return explained, tuple(found)

    def scores(self, explained: Any, others: Sequence[Any]) -> Any:
        """Return the explained output without gradients: [rows] or [rows, classes]."""
        with self.torch.no_grad():
            answers = self.explained(explained, *others)
        if answers.ndim not in (1, 2) or not answers.is_floating_point():
            raise ValueError(
                f"the network gives {answers.dtype} of shape {list(answers.shape)}; only "
                "floats of shape [rows] or [rows, classes] can be explained"
            )
        return answers

    @contextmanager
    def session(self, seed: int) -> Iterator[None]:
        """Record gradients, and draw from ``seed``; torch's own generators go on as before."""
        torch = self.torch
        gpus = [self.device] if self.device.startswith("cuda") else []
        with (
            torch.random.fork_rng(devices=gpus),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            # Not torch.manual_seed: it remembers each call for devices that are not there.
            torch.default_generator.manual_seed(seed)
            if gpus:
                torch.cuda.manual_seed(seed)
            yield


def _inside(
    torch: Any, model: ExplainedModel
) -> tuple[LoadedModel, Callable[[Mapping[str, Array]], list[Any]]]:
    """Return the network with the node's parameters as its inputs' names, and how to call it."""
    instance = model.instance
    if isinstance(instance, TorchModel):
        return replace(instance.model, names=instance.order), instance.tensors
    module = getattr(instance, "module", None)
    if not isinstance(module, torch.nn.Module):
        raise CannotLoad(f"{_NEEDS} that is a torch.nn.Module; here is {_what(instance, module)}")
    if not isinstance(module, torch.fx.GraphModule):  # programs are written for evaluation
        module.eval()
    names, nothing = list(model.inputs), [None] * len(model.inputs)
    weight = next(module.parameters(), None)
    device = "cpu" if weight is None else str(weight.device)
    loaded = LoadedModel(module, names, nothing, nothing, device)
    return loaded, lambda inputs: [to_torch(inputs[name]) for name in names]


def _what(instance: Any, module: Any) -> str:
    if instance is None:
        return "no copy of the node in this process (colocate: true makes one)"
    kind = type(instance).__name__
    return f"a {kind} without one" if module is None else f"a {kind} with another thing"


def _check_rows(loaded: LoadedModel) -> None:
    fixed = next((spec for spec in loaded.specs if spec and spec.shape[:1] != (-1,)), None)
    if fixed is not None:
        raise CannotLoad(
            f"the program takes inputs of shape {list(fixed.shape)} only, but explaining one row "
            "takes many: export it with any size of the first dimension (dynamic_shapes)"
        )
