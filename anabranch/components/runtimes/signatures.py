"""Signatures of models, and a node's inputs in their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from anabranch.components.contract import CannotLoad
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import matches
from anabranch.errors import InvalidRequest
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Predictor, TensorSpec

T = TypeVar("T")


def order_of(node: Predictor, names: Sequence[str], model: str | None = None) -> list[str]:
    """Return the node's parameters in the order of the model's input ``names``.

    A single parameter goes to a single input whatever their names. Otherwise they must agree,
    written as ``plain`` writes them. CannotLoad names both sides; ``model`` is what it calls the
    model, its file if left out.
    """
    parameters = list(node.inputs)
    if len(parameters) == len(names) == 1:
        return parameters
    wanted = [plain(name) for name in names]
    if sorted(wanted) != sorted(parameters):
        raise CannotLoad(
            f"{model or node.model} takes the inputs {listing(wanted) or 'none'}, "
            f"the node has {listing(parameters)}"
        )
    return wanted


def plain(name: str) -> str:
    """Return a model's name of a tensor as a spec can hold it, such as ``input_1``."""
    text = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return text if re.match("[A-Za-z_]", text) else f"_{text}"


def checked(array: Array, spec: TensorSpec | None, name: str) -> Array:
    """Return the array; a ValueError where it is not what the model takes."""
    wrong = None if spec is None else matches(spec, array)
    if wrong is not None:
        raise ValueError(f"input {name!r} has {wrong}")
    return array


def refuse_no_rows(call: Callable[[], T], inputs: Iterable[Array]) -> T:
    """Call a model with inputs; raise InvalidRequest where it fails since one has no rows."""
    try:
        return call()
    except (MemoryError, InvalidRequest):
        raise
    except Exception:
        if all(array.ndim == 0 or len(array) for array in inputs):
            raise
        raise InvalidRequest("the model takes at least one row, got none") from None


def named_outputs(result: Any) -> Any:
    """Return a model's result as a value, or a dict of values for a tuple, list or mapping.

    Tuples give ``output_0``, ``output_1``, …; named tuples and mappings keep their names; a single
    element is the value itself.
    """
    if isinstance(result, Mapping):
        return {plain(str(name)): value for name, value in result.items()}
    if isinstance(result, tuple) and hasattr(result, "_asdict"):
        return dict(result._asdict())
    if isinstance(result, tuple | list):
        values = list(result)
        return values[0] if len(values) == 1 else {f"output_{i}": v for i, v in enumerate(values)}
    return result


def no_method(node: Predictor) -> Iterator[tuple[tuple[str], str]]:
    """Find a ``method`` on a runtime whose models have only one."""
    if node.method is not None:
        yield ("method",), f"the runtime {node.runtime!r} has no methods to choose from"


def no_model(node: Predictor) -> Iterator[tuple[tuple[str], str]]:
    """Find a node without model."""
    if node.model is None:
        yield ("model",), f"the runtime {node.runtime!r} needs a model"
