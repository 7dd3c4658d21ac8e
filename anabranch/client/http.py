"""Requests to an engine as values, and two transports that send them, one of them with asyncio.

An operation on an engine is a generator: it yields a request, a pause or work of this process, gets
back what came of it, and returns its result. So each operation is written once, and knows nothing
of how it is carried out. A request that fails raises its error inside of the operation, by the
status of the reply and in the engine's words.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

import httpx

from anabranch.client.connection.trust import CA, Verify
from anabranch.errors import (
    AnabranchError,
    Conflict,
    DeadlineExceeded,
    DeployError,
    EngineError,
    Interrupted,
    InvalidRequest,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from anabranch.router.errors import INTERRUPTED

T = TypeVar("T")
Json = dict[str, Any]
TIMEOUT_S = 120.0
"""Longest wait for one answer, in seconds."""
_CONNECT_S = 5.0
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
"""OpenSSL's word for a certificate that is not known, or of another name."""
_CLOSED = (httpx.RemoteProtocolError, httpx.ReadError)
"""Of a server that has closed the connection in place of an answer."""
_DATA = "data:"
_SENDABLE = re.compile(r"[!-~]+")
"""Keys and tokens that a header can carry."""
_IN_HEADERS = frozenset(b"\r\n\0")
"""Bytes that no header's value has."""
_ERRORS: Mapping[int, type[AnabranchError]] = {
    400: InvalidRequest,
    401: EngineError,
    403: EngineError,
    404: NotFound,
    408: DeadlineExceeded,
    409: Conflict,
    413: TooLarge,
    422: DeployError,
    429: TooManyRequests,
    501: DeployError,
    503: Unavailable,
    504: DeadlineExceeded,
}


class EngineUnreachable(EngineError):
    """The engine does not answer, perhaps only for a moment."""


class ConnectionBroken(EngineUnreachable, Interrupted):
    """The connection has ended amid a request, as it does where a router ends."""


@dataclass(frozen=True)
class EngineRequest:
    """A request to an engine, with the arguments that HTTPX has for it.

    Its result is the reply, an ``httpx.Response`` that was read to the end.
    """

    method: str
    path: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Pause:
    """A pause, in seconds. Its result is None."""

    seconds: float


@dataclass(frozen=True)
class LocalWork:
    """Work of this process that takes time, such as packing files; ``call`` gives its result."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class ReplyStream(Generic[T]):
    """A request that is answered by events; ``name`` is that of the stream in errors."""

    request: EngineRequest
    read: Callable[[Json], T | None]
    """Return what an event holds; None for the last event, without which the stream was cut off."""
    name: str

    def cut_off(self) -> EngineError:
        """Return the error for a stream that ended before its last event."""
        return EngineError(f"{self.name} was cut off: its last event is missing")


Operation: TypeAlias = Generator[EngineRequest | Pause | LocalWork, Any, T]


def send(method: str, path: str, **options: Any) -> Operation[httpx.Response]:
    """Send a request, and return the reply."""
    reply: httpx.Response = yield EngineRequest(method, path, options)
    return reply


def ask(method: str, path: str, **options: Any) -> Operation[Json]:
    """Send a request, and return the JSON object of the reply; raise EngineError without one."""
    return json_of((yield EngineRequest(method, path, options)))


def pause(seconds: float) -> Operation[None]:
    """Wait."""
    yield Pause(seconds)


def work(call: Callable[[], T]) -> Operation[T]:
    """Do something in this process that takes time, and return its result."""
    result: T = yield LocalWork(call)
    return result


class Transport:
    """Carries out operations on the engine at ``url``, one after the other.

    ``token`` is a key, or the engine's token, or None; ``timeout`` bounds each request, in
    seconds. ``transport`` takes the place of the network; ``verify`` is what HTTPX verifies
    certificates by.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
        verify: Verify = True,
    ) -> None:
        self.url, self.verify = url, verify
        with _naming(url):
            self._http = httpx.Client(**_settings(url, token, timeout, verify), transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, operation: Operation[T]) -> T:
        """Carry out an operation, and return its result."""
        resume: Callable[[], Any] = partial(next, operation)
        with closing(operation):
            while True:
                try:
                    step = resume()
                except StopIteration as end:
                    result: T = end.value
                    return result
                try:
                    resume = partial(operation.send, self._result(step))
                except Exception as error:
                    resume = partial(operation.throw, error)

    def events(self, request: EngineRequest) -> Iterator[Json]:
        """Send a request, and yield the server-sent events of the reply as they come."""
        sent = _built(self._http, request)
        try:
            with closing(self._http.send(sent, stream=True)) as reply:
                if reply.is_error:
                    reply.read()
                    _raise(reply)
                for line in reply.iter_lines():
                    if line.startswith(_DATA):
                        yield _event(line)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    def _result(self, step: EngineRequest | Pause | LocalWork) -> Any:
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        if isinstance(step, LocalWork):
            return step.call()
        sent = _built(self._http, step)
        try:
            reply = self._http.send(sent)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error
        return _checked(reply)


class AsyncTransport:
    """Carries out operations as ``Transport`` does, any number at a time, on one event loop."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
        verify: Verify = True,
    ) -> None:
        self.url, self.verify = url, verify
        with _naming(url):
            self._http = httpx.AsyncClient(
                **_settings(url, token, timeout, verify), transport=transport
            )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, operation: Operation[T]) -> T:
        """Carry out an operation, and return its result."""
        resume: Callable[[], Any] = partial(next, operation)
        with closing(operation):
            while True:
                try:
                    step = resume()
                except StopIteration as end:
                    result: T = end.value
                    return result
                try:
                    resume = partial(operation.send, await self._result(step))
                except Exception as error:
                    resume = partial(operation.throw, error)

    async def events(self, request: EngineRequest) -> AsyncIterator[Json]:
        """Send a request, and yield the server-sent events of the reply as they come."""
        sent = _built(self._http, request)
        try:
            async with aclosing(await self._http.send(sent, stream=True)) as reply:
                if reply.is_error:
                    await reply.aread()
                    _raise(reply)
                async for line in reply.aiter_lines():
                    if line.startswith(_DATA):
                        yield _event(line)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    async def _result(self, step: EngineRequest | Pause | LocalWork) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, LocalWork):
            return await asyncio.to_thread(step.call)
        sent = _built(self._http, step)
        try:
            reply = await self._http.send(sent)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error
        return _checked(reply)


def json_of(reply: httpx.Response) -> Json:
    """Return the JSON object of a reply; raise EngineError for a reply with anything else."""
    try:
        content = reply.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise EngineError(f"{reply.url} did not answer with a JSON object")
    return content


def unreachable(url: str, error: httpx.HTTPError) -> EngineError:
    """Return the error for an engine that gave no answer, or is not known to be the right one."""
    if _UNTRUSTED in str(error):
        return EngineError(
            f"the certificate of the engine at {url} is not trusted ({error}): give the file of"
            f" its authority as `ca`, or in the variable {CA}"
        )
    if isinstance(error, httpx.TimeoutException):
        return EngineUnreachable(f"the engine at {url} did not answer in time")
    up = "is it still up, and is its address right (--url, ANABRANCH_URL or `anabranch login`)?"
    if isinstance(error, _CLOSED) and not url.lower().startswith("https:"):
        up += " If it speaks TLS, its URL begins with https"
    kind = ConnectionBroken if isinstance(error, _CLOSED) else EngineUnreachable
    return kind(f"the engine at {url} cannot be reached ({error}): {up}")


@contextmanager
def _naming(url: str) -> Iterator[None]:
    """Raise EngineError for a URL that is none."""
    try:
        yield
    except httpx.InvalidURL as error:
        raise EngineError(
            f"{url!r} is no URL of an engine ({error}); one is like http://127.0.0.1:8000"
        ) from None


def _settings(url: str, token: str | None, timeout: float, verify: Verify) -> dict[str, Any]:
    if token is not None and not _SENDABLE.fullmatch(token):
        raise EngineError(
            "the key is none: it has spaces or characters that no key has; `anabranch keys create` "
            "makes one, and an engine's token is the content of the file `token` in its home"
        )
    return {
        "base_url": url,
        "headers": {} if token is None else {"authorization": f"Bearer {token}"},
        "timeout": httpx.Timeout(timeout, connect=_CONNECT_S),
        "trust_env": False,
        # Certificates that nobody needs take 20 ms to read.
        "verify": verify if url.lower().startswith("https:") else False,
    }


def _built(http: httpx.Client | httpx.AsyncClient, asked: EngineRequest) -> httpx.Request:
    """Return a request ready to be sent; raise InvalidRequest for what HTTP or JSON cannot carry.

    No message shows the value of a header, which may be a secret.
    """
    what = f"{asked.method} {asked.path} cannot be sent"
    try:
        request = http.build_request(asked.method, asked.path, **asked.options)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"{what}: {error}") from None
    for name, value in request.headers.raw:
        if value != value.strip() or not _IN_HEADERS.isdisjoint(value):
            raise InvalidRequest(
                f"{what}: the value of header {name.decode()!r} begins or ends with space, or has "
                "an end of line or a NUL"
            )
    return request


def _checked(reply: httpx.Response) -> httpx.Response:
    if reply.is_error:
        _raise(reply)
    return reply


def _event(line: str) -> Json:
    """Return the document of an event; an event with an error alone raises it."""
    document: Json = json.loads(line.removeprefix(_DATA))
    if "error" in document and "model_name" not in document:
        raise AnabranchError(str(document["error"]))
    return document


def _raise(reply: httpx.Response) -> NoReturn:
    """Raise the error of a reply; a 5xx that is not anabranch's becomes Unavailable."""
    try:
        text = str(reply.json()["error"])
        kind = _ERRORS.get(reply.status_code, AnabranchError)
    except (ValueError, KeyError, TypeError):
        text = f"{reply.request.method} {reply.url} answered {reply.status_code}"
        kind = Unavailable if reply.is_server_error else EngineError
    if INTERRUPTED[0].decode() in reply.headers:
        kind = Interrupted
    after = reply.headers.get("retry-after", "")
    if issubclass(kind, Unavailable | TooManyRequests) and after.isdecimal():
        raise kind(text, int(after))
    raise kind(text)
