"""Parameters of functions, as their source defines them."""

from __future__ import annotations

import ast
import inspect

Parameters = tuple[inspect.Parameter, ...]
_PLAIN_KIND = inspect.Parameter.POSITIONAL_OR_KEYWORD


def without_self(parameters: Parameters) -> Parameters | None:
    """Return what a call through an instance sees; None for a method that takes no instance."""
    if not parameters:
        return None
    first, *rest = parameters
    if first.kind is first.VAR_POSITIONAL:
        return parameters
    return tuple(rest) if first.kind in (first.POSITIONAL_ONLY, _PLAIN_KIND) else None


def parameters_in(given: ast.arguments) -> Parameters:
    """Return the parameters of a function's definition, without annotations."""
    kinds = inspect.Parameter
    placed = [*given.posonlyargs, *given.args]
    first_default = len(placed) - len(given.defaults)
    found = [
        _parameter(
            one.arg,
            kinds.POSITIONAL_ONLY if index < len(given.posonlyargs) else _PLAIN_KIND,
            has_default=index >= first_default,
        )
        for index, one in enumerate(placed)
    ]
    if given.vararg is not None:
        found.append(_parameter(given.vararg.arg, kinds.VAR_POSITIONAL))
    found += [
        _parameter(one.arg, kinds.KEYWORD_ONLY, has_default=default is not None)
        for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    if given.kwarg is not None:
        found.append(_parameter(given.kwarg.arg, kinds.VAR_KEYWORD))
    return tuple(found)


def _parameter(
    name: str, kind: inspect._ParameterKind, *, has_default: bool = False
) -> inspect.Parameter:
    """Return a parameter; which default it has does not matter here."""
    default = None if has_default else inspect.Parameter.empty
    return inspect.Parameter(name, kind, default=default)
