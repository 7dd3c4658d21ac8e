"""The runtime ``torch``: from arrays to a model's answer, on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from anabranch.components.arguments import SomeSizes
from anabranch.components.artefacts.paths import model_file, reading
from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.components.runtimes.signatures import (
    checked,
    no_method,
    no_model,
    order_of,
    refuse_no_rows,
)
from anabranch.components.runtimes.torch.devices import NAMES, Cpu, Cuda, choose
from anabranch.components.runtimes.torch.graphs import with_graphs
from anabranch.components.runtimes.torch.loading import load
from anabranch.components.runtimes.torch.memory import cap_memory, in_memory
from anabranch.components.runtimes.torch.outputs import each
from anabranch.components.runtimes.torch.warming import compiled
from anabranch.components.tensors.arrays import Array, to_array, to_torch
from anabranch.components.tensors.model_types import model_tensor
from anabranch.errors import Mistake
from anabranch.specs.models import Predictor

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""torch's names of the datatypes that a model can be told to calculate in."""


@register("predictor", "torch")
class TorchModel:
    """Serves a model on ``device``: cpu, cuda, or (auto, the default) cuda where there is one.

    A tensor is the output ``output``; a tuple gives ``output_0``, ``output_1``, …; a dict names its
    outputs. Inputs go to the model's inputs of the same names; a single input may have any name.

    ``dtype`` (fp32, fp16, bf16) is the datatype in which the model calculates: its weights and
    every float input are cast to it, and outputs of that datatype back to FP32. ``compile``
    compiles the program before the first request. ``cuda_graphs`` lists numbers of rows for which
    the work of the GPU is recorded once and played back: smaller batches are filled up with zeros,
    larger batches run without a recording. Both need a ``torch.export`` program.

    ``model`` is the loaded model, for explainers that read it.

    Args:
        device: Where the model runs: ``cpu``, ``cuda``, or ``auto``, which is cuda where there is a
            GPU.
        dtype: Datatype in which the model calculates; that of its weights if left out.
        compile: Whether the program is compiled before the replica is ready.
        cuda_graphs: Numbers of rows for which the work of the GPU is recorded.
    """

    def __init__(
        self,
        node: Predictor,
        root: Path,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        dtype: Literal["fp32", "fp16", "bf16"] | None = None,
        compile: bool = False,
        cuda_graphs: SomeSizes | None = None,
    ) -> None:
        self._torch = require("torch", "torch")
        path = model_file(node, root)
        self._dtype = None if dtype is None else getattr(self._torch, DTYPES[dtype])
        self._device = choose(self._torch, device)
        if cuda_graphs and self._device == "cpu":
            raise CannotLoad("args.cuda_graphs needs a CUDA device, but the model runs on the CPU")
        if self._device == "cuda":
            cap_memory(self._torch, node.resources)
        with reading(node, root):
            model = load(self._torch, path, NAMES[self._device], self._dtype)
            self.model, self.order = model, order_of(node, model.names)
            if compile:
                model = compiled(self._torch, model)
            call = with_graphs(self._torch, model, cuda_graphs) if cuda_graphs else model.call
        self._run = (Cpu if self._device == "cpu" else Cuda)(self._torch, call)
        self.max_concurrency = self._run.max_concurrency
        specs = map(model_tensor, model.specs)
        self.input_types = dict(zip(self.order, specs, strict=True))
        self.output_types = model.outputs

    @staticmethod
    def executes_code(model: str) -> bool:
        """Tell whether loading the file may run code: both formats hold pickles."""
        return True

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find a missing model, and a method."""
        yield from no_model(node)
        yield from no_method(node)

    def predict(self, /, **inputs: Array) -> Array | dict[str, Array]:
        """Return the model's outputs as arrays on the CPU.

        Raise MemoryError where the device lacks memory; the memory of the call is freed. Raise
        InvalidRequest for no rows, where the model needs some.
        """
        tensors = self.tensors(inputs)
        shapes = "inputs of shape " + ", ".join(str(list(one.shape)) for one in tensors)
        call = partial(in_memory, self._torch, lambda: self._calculate(tensors), shapes)
        outputs = refuse_no_rows(call, inputs.values())
        return cast(
            "Array | dict[str, Array]", each(lambda one: to_array(self._back(one)), outputs)
        )

    def tensors(self, inputs: Mapping[str, Array]) -> list[Any]:
        """Return a node's inputs as tensors on the CPU, in the order of the model's inputs."""
        return [
            self._cast(to_torch(checked(inputs[name], spec, name)))
            for name, spec in zip(self.order, self.model.specs, strict=True)
        ]

    def _calculate(self, tensors: list[Any]) -> Any:
        with self._torch.inference_mode():
            return self._run.run(tensors)

    def _cast(self, tensor: Any) -> Any:
        floats = self._dtype is not None and tensor.is_floating_point()
        return tensor.to(self._dtype) if floats else tensor

    def _back(self, value: Any) -> Any:
        return value.float() if getattr(value, "dtype", 0) == self._dtype else value
