"""ONNX models, run by ONNX Runtime on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from anabranch.components.arguments import AtLeastOne
from anabranch.components.artefacts.paths import model_file, reading
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.components.runtimes import UNLOCKED_CALLS
from anabranch.components.runtimes.onnx.engines import EngineFolder
from anabranch.components.runtimes.onnx.providers import (
    PROVIDER_NAMES,
    ProviderName,
    choose,
    open_session,
)
from anabranch.components.runtimes.signatures import (
    checked,
    no_method,
    no_model,
    order_of,
    plain,
    refuse_no_rows,
)
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import BF16, DTYPES
from anabranch.components.tensors.model_types import ModelTensor, model_tensor
from anabranch.components.tensors.texts import as_text
from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint
from anabranch.specs.models import Predictor, TensorSpec

_DATATYPES = {dtype.name: datatype for datatype, dtype in DTYPES.items()} | {
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}

_NAMES = ", ".join(PROVIDER_NAMES)
_NO_MEMORY = ("Failed to allocate memory", "is smaller than requested bytes", "out of memory")
"""What ONNX Runtime's arenas and CUDA say when they have no memory left."""


@register("predictor", "onnx")
class OnnxModel:
    """Serves an ONNX model; ``outputs`` selects outputs, ``threads`` (1) is the threads of a call.

    ``providers`` are ONNX Runtime's execution providers, the best first. One that the installed
    package lacks, or that does not start, is left out with a warning in the log; where none is left
    the model does not load. Operators that a provider lacks are calculated by the next, the last of
    all by the CPU.

    A single output is the output ``output``; several outputs keep their names. Inputs go to the
    model's inputs of the same names; a single input may have any name. The lists of maps that
    converted scikit-learn classifiers give for probabilities become a tensor with one column for
    each class.

    Args:
        outputs: Outputs of the model that are computed; all of them if left out.
        threads: Threads of one call on the CPU, at least 1.
        providers: Execution providers, the best first: ``tensorrt``, ``cuda``, ``cpu``. If left
            out: ``cuda`` and then ``cpu`` for a node that reserves a GPU, else ``cpu``.
    """

    max_concurrency = UNLOCKED_CALLS

    def __init__(
        self,
        node: Predictor,
        root: Path,
        *,
        outputs: list[str] | None = None,
        threads: AtLeastOne = 1,
        providers: list[ProviderName] | None = None,
    ) -> None:
        runtime = require("onnxruntime", "onnx")
        choice = choose(node, providers, runtime.get_available_providers())
        path = model_file(node, root)
        with reading(node, root):
            if "tensorrt" in choice.names:
                choice = replace(choice, engines=EngineFolder.of(path, ArtefactSettings.from_env()))
            self._session = open_session(runtime, path, _options(runtime, threads), choice)
        self._engines = choice.engines
        inputs = self._session.get_inputs()
        self._names = [one.name for one in inputs]
        self._order = order_of(node, self._names)
        for one in inputs:
            _refuse_bf16(node, one.name, one.type)
        self._specs = [_spec(one) for one in inputs]
        self._outputs = _outputs(node, self._session.get_outputs(), outputs)
        specs = map(model_tensor, self._specs)
        self.input_types = dict(zip(self._order, specs, strict=True))
        self.output_types = _output_types(self._session.get_outputs(), self._outputs)

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find a missing model, a method, and providers that are none or doubled."""
        yield from no_model(node)
        yield from no_method(node)
        providers = cast("list[str] | None", node.args.get("providers"))
        if providers is not None and (not providers or len(set(providers)) < len(providers)):
            yield ("args", "providers"), f"at least one of {_NAMES} is needed, and none twice"

    def predict(self, /, **inputs: Array) -> Array | dict[str, Array]:
        """Return the model's outputs, as arrays on the CPU.

        Raise MemoryError where the device, or the node's ``gpu_memory``, has no memory left. Raise
        InvalidRequest for no rows, where the model needs some.
        """
        feed = {
            name: _fed(checked(inputs[parameter], spec, parameter))
            for name, parameter, spec in zip(self._names, self._order, self._specs, strict=True)
        }
        call = partial(self._run, feed)
        results = refuse_no_rows(call, feed.values())
        arrays = [_matrix(one) if isinstance(one, list) else one for one in results]
        if len(arrays) == 1:
            return cast(Array, arrays[0])
        return dict(zip(map(plain, self._outputs), arrays, strict=True))

    def _run(self, feed: dict[str, Any]) -> Any:
        """Return all outputs; MemoryError where ONNX Runtime has no memory left for them."""
        try:
            return self._session.run(self._outputs, feed)
        except Exception as error:
            if self._engines is not None:
                self._engines.heal(error)  # the next process builds them anew
            if any(text in str(error) for text in _NO_MEMORY):
                shapes = ", ".join(str(list(one.shape)) for one in feed.values())
                raise MemoryError(f"no memory is left for inputs of shape {shapes}") from None
            raise


def _options(runtime: Any, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return options


def _spec(argument: Any) -> TensorSpec | None:
    """Return the type of an input; None where its rank is not known."""
    datatype = _datatype(argument.type)
    if datatype is None or not argument.shape:
        return None
    shape = tuple(size if isinstance(size, int) else -1 for size in argument.shape)
    return TensorSpec.model_validate({"datatype": datatype, "shape": shape})


def _outputs(node: Predictor, there: Sequence[Any], wanted: list[str] | None) -> list[str]:
    """Return the names of the outputs to calculate, each of a type that can be a tensor."""
    types = {one.name: one.type for one in there}
    names = list(types) if wanted is None else wanted
    for name in names:
        if name not in types:
            raise CannotLoad(
                f"args.outputs: {node.model} has no output {name!r}{hint(name, types)}"
            )
        _refuse_bf16(node, name, types[name])
        if not types[name].startswith("tensor(") and not _is_map(types[name]):
            raise CannotLoad(
                f"{node.model} gives {name!r} as {types[name]}, which cannot be a tensor: "
                "leave it out of args.outputs"
            )
    return names


def _refuse_bf16(node: Predictor, name: str, kind: str) -> None:
    if kind == "tensor(bfloat16)":
        raise CannotLoad(
            f"{node.model} has {name!r} as BF16, which ONNX Runtime's Python does not pass on: "
            "cast it inside of the model, so that it is FP32 outside"
        )


def _output_types(there: Sequence[Any], wanted: Sequence[str]) -> dict[str, ModelTensor]:
    """Return the datatypes of the outputs; shapes in files are often wrong, and are left open."""
    kinds = {one.name: one.type for one in there}
    return {
        plain(name): ModelTensor("FP32" if _is_map(kinds[name]) else _datatype(kinds[name]))
        for name in wanted
    }


def _datatype(kind: str) -> str | None:
    return _DATATYPES.get(kind.removeprefix("tensor(").removesuffix(")"))


def _is_map(kind: str) -> bool:
    return kind.startswith("seq(map(")


def _fed(array: Array) -> Array:
    """Return an array as ONNX Runtime takes it; raise ValueError for BF16, and for raw bytes."""
    if array.dtype == BF16:
        raise ValueError("an input is BF16, which ONNX Runtime's Python does not pass on: cast it")
    return as_text(array)


def _matrix(rows: list[dict[Any, float]]) -> Array:
    """Return a list of maps, one for each row, as a matrix with a column for each key."""
    columns = len(rows[0]) if rows else 0
    values = [list(row.values()) for row in rows]
    return np.array(values, dtype=np.float32).reshape(len(rows), columns)
