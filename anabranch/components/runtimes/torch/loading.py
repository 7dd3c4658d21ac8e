"""From a file to a model that can be called.

Whether a file is a ``torch.export`` program or TorchScript shows in its content. torch calculates
with as many threads as ``OMP_NUM_THREADS`` says, which Ray sets from the CPUs that the node's
segment reserves.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anabranch.components.contract import DEFAULT_OUTPUT, CannotLoad
from anabranch.components.extras import require
from anabranch.components.runtimes.signatures import named_outputs
from anabranch.components.tensors.model_types import ModelTensor
from anabranch.specs.models import TensorSpec

_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
}


@dataclass(frozen=True)
class LoadedTorchModel:
    """A loaded model: what it takes, and a module that takes it in that order."""

    module: Callable[..., Any]
    names: Sequence[str]
    """Names of the inputs."""
    specs: Sequence[TensorSpec | None]
    """Types of the inputs; None where the file does not say."""
    dtypes: Sequence[Any]
    """Torch's dtypes of the inputs on the device; None where the file does not say."""
    device: str
    keywords: Sequence[str] = ()
    """The last of the inputs, which go by name."""
    outputs: Mapping[str, ModelTensor] = field(default_factory=dict)
    """Known datatypes and shapes of the outputs, once they are on the CPU, by name."""

    def call(self, tensors: list[Any]) -> Any:
        """Return the outputs for tensors on the device, as ``named_outputs`` gives them."""
        count = len(tensors) - len(self.keywords)
        named = dict(zip(self.keywords, tensors[count:], strict=True))
        return named_outputs(self.module(*tensors[:count], **named))


def load(torch: Any, path: Path, device: str, dtype: Any) -> LoadedTorchModel:
    """Load a model onto a device, its floats as ``dtype`` (as they are, if None).

    CannotLoad for a file that is no such model.
    """
    return _LOADERS[_format(path)](torch, path, device, dtype)


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


def _load_export(torch: Any, path: Path, device: str, dtype: Any) -> LoadedTorchModel:
    program = torch.export.load(path)
    if device != "cpu":
        program = require("torch.export.passes", "torch").move_to_device_pass(program, device)
    names = list(program.graph_signature.user_inputs)
    positional, keywords = program.call_spec.in_spec.children()
    if program.call_spec.in_spec.num_leaves != positional.num_children + keywords.num_children:
        raise CannotLoad(f"{path.name} takes nested inputs; export it with one tensor for each")
    keys = list(keywords.context or ())
    values = {one.name: one.meta.get("val") for one in program.graph.nodes}
    examples = [values.get(name) for name in names]
    return LoadedTorchModel(
        module=program.module() if dtype is None else program.module().to(dtype),
        names=[*names[: positional.num_children], *keys],
        specs=[_spec(value) for value in examples],
        dtypes=[_cast(value, dtype) for value in examples],
        device=device,
        keywords=keys,
        outputs=_outputs(program, values, dtype),
    )


def _outputs(program: Any, values: Mapping[str, Any], dtype: Any) -> dict[str, ModelTensor]:
    """Return the datatypes that the program was traced with; nothing for nested outputs."""
    leaves = [values.get(name) for name in program.graph_signature.user_outputs]
    spec = program.call_spec.out_spec
    if len(leaves) != spec.num_leaves:
        return {}
    found = named_outputs(spec.unflatten(leaves))
    named = found if isinstance(found, dict) else {DEFAULT_OUTPUT: found}
    return {name: _output(value, dtype) for name, value in named.items()}


def _output(value: Any, dtype: Any) -> ModelTensor:
    floats = getattr(getattr(value, "dtype", None), "is_floating_point", False)
    known = None if dtype is not None and floats else _spec(value)
    return ModelTensor(known.datatype if known is not None else None)


def _spec(value: Any) -> TensorSpec | None:
    """Return the type of an example tensor; sizes that are not fixed are -1."""
    datatype = _DATATYPES.get(str(getattr(value, "dtype", "")).removeprefix("torch."))
    if datatype is None:
        return None
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorSpec.model_validate({"datatype": datatype, "shape": shape})


def _cast(value: Any, dtype: Any) -> Any:
    found = getattr(value, "dtype", None)
    return dtype if dtype is not None and getattr(found, "is_floating_point", False) else found


def _load_script(torch: Any, path: Path, device: str, dtype: Any) -> LoadedTorchModel:
    module = torch.jit.load(path, map_location=device).eval()
    if dtype is not None:
        module = module.to(dtype)
    arguments = module.forward.schema.arguments[1:]
    names = [one.name for one in arguments if not one.has_default_value()]
    unknown = [None] * len(names)
    return LoadedTorchModel(module, names, unknown, unknown, device)


_LOADERS: dict[str, Callable[[Any, Path, str, Any], LoadedTorchModel]] = {
    "export": _load_export,
    "script": _load_script,
}
