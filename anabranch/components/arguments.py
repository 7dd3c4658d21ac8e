"""The ``args`` of a built-in, checked against its constructor without calling it.

Python annotations are the single source: names, which are required, and what each may be.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import NodeBase

_INJECTED = ("node", "root")
_WORDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}


def injected(cls: type, node: NodeBase, root: Path) -> dict[str, Any]:
    """Return what the constructor asks for beside ``args``: ``node``, ``root``, both or none."""
    offered = {"node": node, "root": root}
    return {name: offered[name] for name in _INJECTED if name in _signature(cls).parameters}


def constructor_problems(
    cls: type, args: Mapping[str, Any], owner: str
) -> list[tuple[tuple[str | int, ...], str]]:
    """Return (path below the node, message) for each unknown, missing or ill-typed argument."""
    accepted = _accepted(cls)
    return [
        *_unknown(args, accepted, owner),
        *_missing(args, accepted, owner),
        *_ill_typed(cls, args, accepted),
    ]


def _unknown(
    args: Mapping[str, Any], accepted: Mapping[str, inspect.Parameter], owner: str
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for name in args:
        if name not in accepted:
            there = hint(name, accepted) or " (it takes none)"
            yield ("args", name), f"unknown argument of {owner}{there}"


def _missing(
    args: Mapping[str, Any], accepted: Mapping[str, inspect.Parameter], owner: str
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for name, parameter in accepted.items():
        if parameter.default is inspect.Parameter.empty and name not in args:
            yield ("args",), f"{owner} needs the argument {name!r}"


def _ill_typed(
    cls: type, args: Mapping[str, Any], accepted: Mapping[str, inspect.Parameter]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    hints = _hints(cls)
    for name, value in args.items():
        if name in accepted and not _is_a(hints[name], value):
            yield ("args", name), f"{shown(value)} is not {describe(hints[name])}"


def _is_a(annotation: Any, value: Any) -> bool:
    try:
        _adapter(annotation).validate_python(value)
    except ValidationError:
        return False
    return True


def describe(annotation: Any) -> str:
    """Return what an annotation allows, in words, such as ``a number or a list of numbers``."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(one) for one in inner if one is not type(None))
    if origin is Literal:
        return f"one of {', '.join(str(one) for one in inner)}"
    if origin is list:
        return f"a list, each {describe(inner[0])}"
    if origin is dict:
        return f"a map of names, each to {describe(inner[1])}"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _accepted(cls: type) -> dict[str, inspect.Parameter]:
    parameters = _signature(cls).parameters
    return {name: one for name, one in parameters.items() if name not in _INJECTED}


@cache
def _signature(cls: type) -> inspect.Signature:
    return inspect.signature(cls)


@cache
def _hints(cls: type) -> dict[str, Any]:
    constructor: Any = vars(cls).get("__init__", cls.__init__)  # type: ignore[misc]
    return get_type_hints(constructor)


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))
