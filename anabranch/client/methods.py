"""Makes methods of clients from operations: the signature and the docstring are the operation's."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from anabranch.client.connection.session import EngineSession
from anabranch.client.http import Operation, ReplyStream

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


def of_session(
    operation: Callable[P, Operation[T]],
) -> Callable[Concatenate[EngineSession, P], Operation[T]]:
    """Return an operation that takes a session and needs none, for the two functions above."""

    @wraps(operation)
    def call(_: EngineSession, /, *args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return operation(*args, **kwargs)

    signature = inspect.signature(operation)
    parameters = [_SELF, *signature.parameters.values()]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def stream_method(
    operation: Callable[Concatenate[EngineSession, P], Operation[ReplyStream[T]]],
) -> Callable[Concatenate[Any, P], Iterator[T]]:
    """Return the method that yields what the events hold for which an operation asks."""

    @wraps(operation)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        stream: ReplyStream[T] = self.transport.run(operation(self.session, *args, **kwargs))
        for event in self.transport.events(stream.request):
            found = stream.read(event)
            if found is None:
                return
            yield found
        raise stream.cut_off()

    return _shown(call, operation, 1)


def async_stream_method(
    operation: Callable[Concatenate[EngineSession, P], Operation[ReplyStream[T]]],
) -> Callable[Concatenate[Any, P], AsyncIterator[T]]:
    """Return the method as ``stream_method`` does, as an asynchronous generator."""

    @wraps(operation)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        stream: ReplyStream[T] = await self.transport.run(operation(self.session, *args, **kwargs))
        async for event in self.transport.events(stream.request):
            found = stream.read(event)
            if found is None:
                return
            yield found
        raise stream.cut_off()

    return _shown(call, operation, 1)


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _shown(call: _Method, operation: Callable[..., Any], own: int) -> _Method:
    """Give a method the signature of an operation, less its ``own`` first parameters.

    The method returns what the operation results in, or yields what a stream's events hold.
    """
    signature = inspect.signature(operation)
    result = str(signature.return_annotation).removeprefix("Operation[").removesuffix("]")
    kind = "AsyncIterator" if inspect.isasyncgenfunction(call) else "Iterator"
    result = result.replace("ReplyStream", kind, 1)
    parameters = [_SELF, *list(signature.parameters.values())[own:]]
    call.__signature__ = inspect.Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
    return call
