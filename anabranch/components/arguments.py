"""The ``args`` of a built-in, checked against its constructor without calling it.

Python annotations are the single source: names, which are required, and what each may be, with
bounds such as ``Annotated[int, Field(ge=1)]``. Where a constructor ends in ``**common`` and hands
that on, the arguments of its base class count as well.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import NodeBase
from anabranch.specs.units import Duration

AtLeastOne: TypeAlias = Annotated[int, Field(ge=1)]
"""A number of things of which there must be some."""
SomeSizes: TypeAlias = Annotated[list[AtLeastOne], Field(min_length=1)]
_INJECTED = ("node", "root", "node_name")
_WORDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
    Duration: "a duration such as 5s",
}
_BOUNDS = {
    "greater_than_equal": "at least {ge:.10g}",
    "greater_than": "more than {gt:.10g}",
    "less_than_equal": "at most {le:.10g}",
    "less_than": "less than {lt:.10g}",
    "too_short": "at least {min_length} long",
}
"""What is asked of a number, or a list, by Pydantic's name for the error."""


def injected(cls: type, node: NodeBase, root: Path, node_name: str) -> dict[str, Any]:
    """Return what the constructor asks for beside ``args``: its parameters of these names."""
    offered = {"node": node, "root": root, "node_name": node_name}
    return {name: offered[name] for name in _INJECTED if name in constructor_parameters(cls)}


def constructor_problems(cls: type, args: Mapping[str, Any], owner: str) -> list[Mistake]:
    """Return (path below the node, message) for each unknown, missing or ill-typed argument."""
    accepted = spec_arguments(cls)
    return [
        *_unknown(args, accepted, owner),
        *_missing(args, accepted, owner),
        *_ill_typed(args, accepted),
    ]


def _unknown(
    args: Mapping[str, Any], accepted: Mapping[str, inspect.Parameter], owner: str
) -> Iterator[Mistake]:
    for name in args:
        if name not in accepted:
            there = hint(name, accepted) or " (it takes none)"
            yield ("args", name), f"unknown argument of {owner}{there}"


def _missing(
    args: Mapping[str, Any], accepted: Mapping[str, inspect.Parameter], owner: str
) -> Iterator[Mistake]:
    for name, parameter in accepted.items():
        if parameter.default is inspect.Parameter.empty and name not in args:
            yield ("args",), f"{owner} needs the argument {name!r}"


def _ill_typed(
    args: Mapping[str, Any], accepted: Mapping[str, inspect.Parameter]
) -> Iterator[Mistake]:
    for name, value in args.items():
        if name in accepted and (refusal := _refusal(accepted[name].annotation, value)):
            yield ("args", name), refusal


def _refusal(annotation: Any, value: Any) -> str | None:
    """Return why a value is not what an annotation allows; None if it is."""
    try:
        _adapter(annotation).validate_python(value)
    except ValidationError as error:
        for one in error.errors():
            if one["type"] in _BOUNDS:
                return f"must be {_BOUNDS[one['type']].format(**one['ctx'])}, not {shown(value)}"
        return f"{shown(value)} is not {describe(annotation)}"
    return None


def describe(annotation: Any) -> str:
    """Return what an annotation allows, in words, such as ``a number or a list of numbers``."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(one) for one in inner if one is not type(None))
    if origin is Annotated:
        return describe(inner[0])
    if origin is Literal:
        return f"one of {', '.join(str(one) for one in inner)}"
    if origin is list:
        return f"a list, each {describe(inner[0])}"
    if origin is dict:
        return f"a map of names, each to {describe(inner[1])}"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def spec_arguments(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a built-in's constructor that ``args`` of a spec may give."""
    return {name: one for name, one in constructor_parameters(cls).items() if name not in _INJECTED}


@cache
def constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor, and of those that it hands ``**common`` on to."""
    found: dict[str, inspect.Parameter] = {}
    for constructor in _constructors(cls):
        _, *own = inspect.signature(constructor, eval_str=True).parameters.values()
        named = {one.name: one for one in own if one.kind is not one.VAR_KEYWORD}
        found = named | found
        if len(named) == len(own):
            break
    return found


def _constructors(cls: type) -> Iterator[Callable[..., None]]:
    """Yield the constructors that a class and its bases define, in the order of ``super()``."""
    return (vars(one)["__init__"] for one in cls.__mro__[:-1] if "__init__" in vars(one))


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))
