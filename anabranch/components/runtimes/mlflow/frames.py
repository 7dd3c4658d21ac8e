"""A node's tensors as what an MLflow model takes by its signature, and its answer as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes.features import as_column
from anabranch.components.runtimes.signatures import checked, named_outputs, order_of, plain
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import to_datatype
from anabranch.components.tensors.model_types import ModelTensor, model_tensor
from anabranch.components.tensors.texts import as_text
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Predictor, TensorSpec

Convert: TypeAlias = Callable[[Mapping[str, Array]], Any]
"""From the node's inputs to the argument of the model's ``predict``."""


def converter(pandas: Any, node: Predictor, schema: Any) -> Convert:
    """Return how inputs become what a signature's input schema says; None for no schema.

    CannotLoad where the node's inputs cannot be that.
    """
    if schema is None:
        return _as_they_are
    if schema.is_tensor_spec():
        return _tensors(node, schema.inputs)
    return _columns(pandas, node, schema.inputs)


def input_types(node: Predictor, schema: Any) -> dict[str, ModelTensor]:
    """Return what a schema of tensors, or of one matrix of columns, says of the node's inputs."""
    if schema is None:
        return {}
    if schema.is_tensor_spec():
        order = order_of(node, [one.name or "input" for one in schema.inputs])
        specs = (model_tensor(_spec(one)) for one in schema.inputs)
        return dict(zip(order, specs, strict=True))
    if len(node.inputs) == 1 and len(schema.inputs) > 1:
        return {next(iter(node.inputs)): ModelTensor(shape=(-1, len(schema.inputs)))}
    return {}


def _as_they_are(inputs: Mapping[str, Array]) -> Any:
    return next(iter(inputs.values())) if len(inputs) == 1 else dict(inputs)


def _tensors(node: Predictor, there: Sequence[Any]) -> Convert:
    """Return tensors by name; a single one without name is passed bare, as the schema means it."""
    names = [one.name or "input" for one in there]
    specs = [_spec(one) for one in there]
    order = order_of(node, names)

    def convert(inputs: Mapping[str, Array]) -> Any:
        arrays = [checked(inputs[key], spec, key) for key, spec in zip(order, specs, strict=True)]
        return arrays[0] if there[0].name is None else dict(zip(names, arrays, strict=True))

    return convert


def _spec(tensor: Any) -> TensorSpec | None:
    try:
        datatype = to_datatype(np.dtype(tensor.type))
    except ValueError:
        return None
    return TensorSpec.model_validate({"datatype": datatype, "shape": tuple(tensor.shape)})


def _columns(pandas: Any, node: Predictor, there: Sequence[Any]) -> Convert:
    """Return a data frame, from one matrix or from one input for each column by name.

    Columns without a name are numbered by MLflow, and so are the frame's.
    """
    _check_types(there)
    labels = [number if one.name is None else one.name for number, one in enumerate(there)]
    forms = {
        label: np.asarray if one.type is one.type.binary else as_text
        for one, label in zip(there, labels, strict=True)
    }
    if len(node.inputs) == 1 and (len(there) > 1 or plain(str(labels[0])) not in node.inputs):
        return lambda inputs: _from_matrix(pandas, forms, next(iter(inputs.values())))
    by_input = _matched(node, there, labels)

    def convert(inputs: Mapping[str, Array]) -> Any:
        columns = {
            label: forms[label](as_column(inputs[key], key)) for key, label in by_input.items()
        }
        return pandas.DataFrame(columns)

    return convert


def _check_types(there: Sequence[Any]) -> None:
    for one in there:
        if not hasattr(one.type, "to_numpy"):
            raise CannotLoad(
                f"its column {one.name!r} is of type {one.type}, which no tensor can carry"
            )


def _matched(node: Predictor, there: Sequence[Any], labels: Sequence[Any]) -> dict[str, Any]:
    """Return input: label of its column; optional columns may be left out."""
    known = {plain(str(label)): label for label in labels}
    needed = [plain(str(label)) for one, label in zip(there, labels, strict=True) if one.required]
    missing = [name for name in needed if name not in node.inputs]
    extra = [name for name in node.inputs if name not in known]
    if missing or extra:
        raise CannotLoad(
            f"{node.model} takes the columns {listing(known)}, "
            f"the node has the inputs {listing(node.inputs)}"
        )
    return {name: label for name, label in known.items() if name in node.inputs}


def _from_matrix(pandas: Any, forms: Mapping[Any, Callable[[Array], Array]], array: Array) -> Any:
    if array.ndim == len(forms) == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != len(forms):
        raise ValueError(
            f"shape {list(array.shape)}, expected {[-1, len(forms)]}: a column for each of "
            f"{listing(map(str, forms))}"
        )
    columns = zip(forms.items(), array.T, strict=True)
    return pandas.DataFrame({label: form(column) for (label, form), column in columns})


def outputs(result: Any) -> Any:
    """Return a model's answer as an array, or a dict of them: a data frame gives its columns."""
    if hasattr(result, "columns") and hasattr(result, "items"):
        columns = {plain(str(name)): column.to_numpy() for name, column in result.items()}
        return next(iter(columns.values())) if len(columns) == 1 else columns
    # A list has an entry for each row; elsewhere it would be one for each output.
    return result if isinstance(result, list) else named_outputs(result)
