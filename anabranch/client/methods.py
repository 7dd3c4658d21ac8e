"""Makes methods of clients from operations: the signature and the docstring are the operation's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from anabranch.client.http import Operation
from anabranch.client.session import EngineSession

P = ParamSpec("P")
T = TypeVar("T")
_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)


def method(operation: Callable[P, Operation[T]]) -> Callable[Concatenate[Any, P], T]:
    """Return the method that carries out an operation by the client's ``transport``."""

    @wraps(operation)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self.transport.run(operation(*args, **kwargs))
        return result

    return _shown(call, operation, 0)


def session_method(
    operation: Callable[Concatenate[EngineSession, P], Operation[T]],
) -> Callable[Concatenate[Any, P], T]:
    """Return the method that carries out an operation on the client's ``session``."""

    @wraps(operation)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self.transport.run(operation(self.session, *args, **kwargs))
        return result

    return _shown(call, operation, 1)


def async_method(
    operation: Callable[Concatenate[EngineSession, P], Operation[T]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return the coroutine method that carries out an operation on the client's ``session``."""

    @wraps(operation)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = await self.transport.run(operation(self.session, *args, **kwargs))
        return result

    return _shown(call, operation, 1)


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _shown(call: _Method, operation: Callable[..., Any], own: int) -> _Method:
    """Give a method the signature of an operation, less its ``own`` first parameters.

    The method returns what the operation results in.
    """
    signature = inspect.signature(operation)
    result = str(signature.return_annotation).removeprefix("Operation[").removesuffix("]")
    parameters = [_SELF, *list(signature.parameters.values())[own:]]
    call.__signature__ = inspect.Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
    return call
