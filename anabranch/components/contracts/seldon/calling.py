"""Calls of a Seldon component's methods, as its wrapper makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from anabranch.components.contracts.adapting import check_synchronous, check_takes, with_status
from anabranch.components.contracts.seldon.standin import PACKAGE
from anabranch.components.parameters import parameters_of

_BASE = f"{PACKAGE}.user_model"
_FAILURE = "SeldonMicroserviceException"
_LEFT_OUT = "SeldonNotImplementedError"

Method = Callable[..., Any]


def own_method(component: Any, name: str) -> Method | None:
    """Return a method that the class or a base of it defines, other than ``SeldonComponent``."""
    method = getattr(component, name, None)
    if not callable(method):
        return None
    function = getattr(method, "__func__", method)
    return None if getattr(function, "__module__", None) == _BASE else method


def caller(component: Any, name: str, given: int) -> Callable[..., Any]:
    """Return a function of a method's ``given`` arguments, and of ``meta``.

    The method gets as many of the arguments as it takes, and ``meta`` if it has that parameter.
    Raise CannotLoad for a method that cannot be called so.
    """
    method = getattr(component, name)
    owner = f"{type(component).__name__}.{name}()"
    check_synchronous(owner, method)
    parameters = parameters_of(method)
    if parameters is None:
        return lambda *args, meta: method(*args)
    check_takes(owner, given, parameters)
    placed = [
        one
        for one in parameters
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.name != "meta"
    ]
    is_open = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    count = given if is_open else min(given, len(placed))
    wants_meta = any(one.name == "meta" or one.kind is one.VAR_KEYWORD for one in parameters)
    if wants_meta:
        return lambda *args, meta: method(*args[:count], meta=meta)
    return lambda *args, meta: method(*args[:count])


def is_left_out(error: BaseException) -> bool:
    """Return whether an error says that the component does not have a method."""
    return _is_a(error, _LEFT_OUT)


@contextmanager
def failing(node: str) -> Iterator[None]:
    """Raise errors of Seldon's own with their status, which the client gets.

    A method that the component does not have is a fault of its own.
    """
    try:
        yield
    except Exception as error:
        if not _is_a(error, _FAILURE):
            raise
        said = f"{getattr(error, 'message', '')} ({getattr(error, 'reason', '')})"
        status = None if is_left_out(error) else getattr(error, "status_code", None)
        failure = with_status(node, said, status)
        if failure is not None:
            raise failure from error
        error.args = error.args or (said,)
        raise


def _is_a(error: BaseException, name: str) -> bool:
    """Go by names: the class is the package's, or that of its stand-in."""
    return any(cls.__name__ == name for cls in type(error).__mro__)


def asked(method: Method, *args: Any, **named: Any) -> Any:
    """Call a method that a component need not have; return None where it says so."""
    try:
        return method(*args, **named)
    except Exception as error:
        if is_left_out(error):
            return None
        raise
