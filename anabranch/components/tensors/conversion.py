"""Arrays as what a method asks for by annotation: ``torch.Tensor``, or NumPy as they are."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from typing import Any, get_args

from anabranch.components.parameters import Parameters, is_async
from anabranch.components.tensors.arrays import to_torch

_Call = Callable[..., Any]
_TENSOR_TEXT = re.compile(r"\b(torch\.)?Tensor\b")


def with_tensors(call: _Call, parameters: Parameters, inputs: Sequence[str] | None) -> _Call:
    """Convert arrays for the parameters that ask for torch; the raw ``call`` where none does.

    ``inputs`` are the names that the call takes, None where it takes one list.
    """
    asking = [one for one in parameters if _wants_tensor(one.annotation)]
    if not asking:
        return call
    if inputs is None:
        return _converting(call, _convert_list)
    names = {one.name for one in asking}
    if any(one.kind is one.VAR_KEYWORD for one in asking):
        names |= set(inputs) - {one.name for one in parameters}
    return _converting(call, partial(_convert_named, names & set(inputs)))


def _wants_tensor(annotation: Any) -> bool:
    """Tell whether an annotation is ``torch.Tensor``, or has it inside, as in a union or list."""
    if isinstance(annotation, str):
        return _TENSOR_TEXT.search(annotation) is not None
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    if tensor is not None and annotation is tensor:
        return True
    return any(_wants_tensor(inner) for inner in get_args(annotation))


_Converted = tuple[tuple[Any, ...], dict[str, Any]]


def _convert_list(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Converted:
    return ([to_torch(array) for array in args[0]], *args[1:]), kwargs


def _convert_named(
    names: Iterable[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Converted:
    return args, {**kwargs, **{name: to_torch(kwargs[name]) for name in names if name in kwargs}}


def _converting(call: _Call, convert: Callable[..., _Converted]) -> _Call:
    @wraps(call)
    def converted(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = convert(args, kwargs)
        return call(*args, **kwargs)

    @wraps(call)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = convert(args, kwargs)
        return await call(*args, **kwargs)

    return awaited if is_async(call) else converted
