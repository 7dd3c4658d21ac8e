"""The parameters of constructors and methods, checked against what a spec gives them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from anabranch.components.contract import CannotLoad
from anabranch.components.source.outline import Method
from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint

Parameters = Sequence[inspect.Parameter]

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_CONSTRUCTORS = ("__init__", "__new__")
BY_PLACE = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


def parameters_of(method: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """Return the method's parameters, annotations resolved where they can be."""
    if _is_constructed_plainly(method):
        return []
    try:
        return list(inspect.signature(method, eval_str=True).parameters.values())
    except Exception:  # an annotation may name what is only imported for type checkers
        pass
    try:
        return list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):  # code made outside Python may not tell
        return None


def _is_constructed_plainly(method: Callable[..., Any]) -> bool:
    """Tell whether this is a class that leaves its constructor to ``object``.

    ``inspect`` would read that one's parameters from a text, for which it copies the table of all
    modules: in a forked process this takes 8 MiB.
    """
    return type(method) is type and all(
        getattr(method, name) is getattr(object, name) for name in _CONSTRUCTORS
    )


def is_async(method: Callable[..., Any]) -> bool:
    """Tell whether calling the method gives an awaitable."""
    return inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(
        getattr(method, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


def is_context(parameter: inspect.Parameter) -> bool:
    """Tell whether a parameter asks for the request's context."""
    return parameter.name == "context" and parameter.kind in _BY_NAME


def check_takes_one(owner: str, parameters: Parameters) -> None:
    """Check that the method can be called with one list, beside a context."""
    own = [parameter for parameter in parameters if not is_context(parameter)]
    required = [one for one in own[1:] if is_required(one)]
    if not own or own[0] is not parameters[0] or own[0].kind not in BY_PLACE or required:
        names = ", ".join(parameter.name for parameter in own) or "none"
        raise CannotLoad(
            f"inputs are a list, so {owner} must take one list first (its parameters: {names}); "
            "name the inputs in the spec to pass them by name"
        )


def check_names(owner: str, field: str, given: Sequence[str], parameters: Parameters) -> None:
    """Check that names can be passed as keyword arguments, none missing and none too many."""
    named = [parameter for parameter in parameters if parameter.kind in _BY_NAME]
    known = [parameter.name for parameter in named]
    missing = [one.name for one in named if is_required(one) and one.name not in given]
    missing += [
        one.name for one in parameters if one.kind is one.POSITIONAL_ONLY and is_required(one)
    ]
    open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters)
    extra = [] if open_ended else [name for name in given if name not in known]
    if missing or extra:
        raise CannotLoad(_mismatch(owner, field, missing, extra, known))


def check_args(component: str | None, args: Mapping[str, Any], parameters: Parameters) -> None:
    """Raise CannotLoad unless a constructor of these parameters takes ``args``."""
    check_names(f"the constructor of {component}", "args", list(args), parameters)


def constructor_mistakes(
    component: str | None, args: Mapping[str, Any], constructor: Method
) -> Iterator[Mistake]:
    """Find arguments that a constructor does not take, and those that it lacks."""
    try:
        check_args(component, args, constructor.parameters)
    except CannotLoad as error:
        yield ("args",) if args else ("component",), f"{error} ({constructor.place})"


def is_required(parameter: inspect.Parameter) -> bool:
    """Tell whether a call must give the parameter."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in variadic


def _mismatch(
    owner: str, field: str, missing: Sequence[str], extra: Sequence[str], known: Sequence[str]
) -> str:
    parts = []
    if missing:
        parts.append(f"{owner} needs {_quoted(missing)}, which {field} does not give")
    if extra:
        there = hint(extra[0], known) or " (it takes none)"
        parts.append(f"{field} gives {_quoted(extra)}, which {owner} does not take{there}")
    return "; ".join(parts)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
