"""PyTorch models: ``torch.export`` programs (``.pt2``) and TorchScript (``.pt``, ``.ts``).

Which of the two a file is shows in its content. torch calculates with as many threads as
``OMP_NUM_THREADS`` says, which Ray sets from the CPUs that the node's segment reserves.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from anabranch.components.arrays import Array, to_array, to_torch
from anabranch.components.artefacts import model_path, reading
from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.components.registry import Finding, register
from anabranch.components.runtimes import THREADS
from anabranch.components.runtimes.signatures import (
    checked,
    named_outputs,
    no_method,
    no_model,
    order_of,
)
from anabranch.specs.models import NodeBase, Predictor, TensorSpec

_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}


@register("predictor", "torch")
class TorchModel:
    """A model on ``device``: cpu, cuda, or (auto, if left out) cuda where there is one.

    A tensor is the output ``output``; a tuple gives ``output_0``, ``output_1``, …; a dict names its
    outputs. Inputs go to the model's by name, a single one whatever its name.
    """

    max_concurrency = THREADS

    def __init__(
        self, node: Predictor, root: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto"
    ) -> None:
        self._torch = require("torch", "torch")
        path = model_path(node, root)
        self._device = _device(self._torch, device)
        with reading(node, root):
            model = _LOADERS[_format(path)](self._torch, path, self._device)
        self._call = model.call
        self._order = order_of(node, model.names)
        self._specs = model.specs

    @staticmethod
    def executes_code(model: str) -> bool:
        """Tell whether loading the file may run code: both formats hold pickles."""
        return True

    @staticmethod
    def check(node: NodeBase) -> Iterable[Finding]:
        """Find a missing model, and a method."""
        predictor = cast(Predictor, node)
        yield from no_model(predictor)
        yield from no_method(predictor, "torch")

    def predict(self, /, **inputs: Array) -> Array | dict[str, Array]:
        """Return the model's outputs as arrays on the CPU."""
        tensors = [
            to_torch(checked(inputs[name], spec, name)).to(self._device)
            for name, spec in zip(self._order, self._specs, strict=True)
        ]
        with self._torch.inference_mode():
            outputs = named_outputs(self._call(tensors))
        if isinstance(outputs, dict):
            return {name: to_array(value) for name, value in outputs.items()}
        return to_array(outputs)


class _Model:
    """A loaded model: the names and types of its inputs, and a call with tensors in that order."""

    def __init__(
        self,
        names: Sequence[str],
        specs: Sequence[TensorSpec | None],
        call: Callable[[list[Any]], Any],
    ) -> None:
        self.names, self.specs, self.call = names, specs, call


def _device(torch: Any, wanted: str) -> str:
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise CannotLoad(
            f"args.device is 'cuda', but torch {torch.__version__} sees no CUDA device here: "
            "reserve one with resources: {gpu: 1}, or use auto or cpu"
        )
    if wanted == "auto":
        return "cuda" if available else "cpu"
    return wanted


def _format(path: Path) -> str:
    """Return ``export`` or ``script``; CannotLoad for what is neither."""
    if not zipfile.is_zipfile(path):
        raise CannotLoad(f"{path.name} is neither a torch.export program nor TorchScript")
    with zipfile.ZipFile(path) as archive:
        members = [name.rpartition("/")[2] for name in archive.namelist()]
        folders = {part for name in archive.namelist() for part in name.split("/")[:-1]}
    if "code" in folders and "constants.pkl" in members:
        return "script"
    if "data.pkl" in members and "models" not in folders:
        raise CannotLoad(
            f"{path.name} was written by torch.save and holds weights or a pickled module: "
            "write it with torch.export.save(torch.export.export(...)) or torch.jit.save"
        )
    return "export"


def _load_export(torch: Any, path: Path, device: str) -> _Model:
    program = torch.export.load(path)
    if device != "cpu":
        program = require("torch.export.passes", "torch").move_to_device_pass(program, device)
    names = list(program.graph_signature.user_inputs)
    positional, keywords = program.call_spec.in_spec.children()
    if program.call_spec.in_spec.num_leaves != positional.num_children + keywords.num_children:
        raise CannotLoad(f"{path.name} takes nested inputs; export it with one tensor for each")
    count, keys = positional.num_children, list(keywords.context or ())
    module = program.module()

    def call(tensors: list[Any]) -> Any:
        return module(*tensors[:count], **dict(zip(keys, tensors[count:], strict=True)))

    values = {one.name: one.meta.get("val") for one in program.graph.nodes}
    return _Model([*names[:count], *keys], [_spec(values.get(name)) for name in names], call)


def _spec(value: Any) -> TensorSpec | None:
    """Return the type of an example tensor; sizes that are not fixed are -1."""
    datatype = _DATATYPES.get(str(getattr(value, "dtype", "")).removeprefix("torch."))
    if datatype is None:
        return None
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorSpec.model_validate({"datatype": datatype, "shape": shape})


def _load_script(torch: Any, path: Path, device: str) -> _Model:
    module = torch.jit.load(path, map_location=device).eval()
    arguments = module.forward.schema.arguments[1:]
    names = [one.name for one in arguments if not one.has_default_value()]
    return _Model(names, [None] * len(names), lambda tensors: module(*tensors))


_LOADERS: dict[str, Callable[[Any, Path, str], _Model]] = {
    "export": _load_export,
    "script": _load_script,
}
