"""A server on the network: one request at a time, bounded in time and bytes, errors as ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NamedTuple, NoReturn, TypeAlias

import httpx
import orjson

from anabranch.components.contract import CannotLoad, Context
from anabranch.components.peers import problem_of
from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.errors import DeadlineExceeded, Unavailable

MAX_ANSWER = 256 * 2**20
"""Largest answer that is read, in bytes."""
LONGEST = 300.0
"""Longest time for a request without a deadline, in seconds."""
_ASKING = 5.0
"""Longest time for a request of the node itself, for metadata or a probe of health, in seconds."""
_CONNECT = 5.0
_IDLE = 2.0
"""How long an unused connection is kept, in seconds: less than servers keep it, so that no request
meets a connection that the server is just closing."""
_CONNECTIONS = httpx.Limits(
    max_connections=256, max_keepalive_connections=64, keepalive_expiry=_IDLE
)
_RETRY_AFTER = range(1, 3600)
_REFUSED = (429, 503)
_FORWARDED = ("traceparent", "tracestate")
Said: TypeAlias = Callable[[bytes], str]
"""Finds the text of an error in a body, to follow a message: empty, or with ``: `` in front."""


class RemoteError(Exception):
    """A remote model refused a request or failed on it; ``status`` is that of its answer, or 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


def said_of(body: bytes) -> str:
    """Return the error text of the Open Inference Protocol, cut to one line for a message."""
    try:
        text = orjson.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return said_line(text)


def said_line(text: Any) -> str:
    """Return the text of an error, cut to one line, to follow a message; empty for no text."""
    line = " ".join(text.split()) if isinstance(text, str) else ""
    return f": {line[:300]}" if line else ""


class RemoteAnswer(NamedTuple):
    """What a server answered."""

    status: int
    headers: httpx.Headers
    body: bytes


class RemoteServer:
    """Speaks to one server over pooled connections of the loop that it is first used on.

    ``name`` is that of the server in errors, ``said`` finds the text of an error in the body of an
    answer.
    """

    def __init__(self, url: str, name: str, said: Said = said_of) -> None:
        self._url, self._name, self._said = url, name, said
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def probe(self, path: str, headers: Mapping[str, str] | None = None) -> None:
        """Return if a path answers with success, whatever it says; raise as ``get`` does."""
        await self._send("GET", path, _ASKING, headers=headers)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """Return the JSON that a path gives."""
        _, body = await self._send("GET", path, _ASKING, headers=headers)
        try:
            return orjson.loads(body)
        except ValueError:
            raise BadAnswer(f"GET {path} gives no JSON") from None

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], context: Context
    ) -> tuple[httpx.Headers, bytes]:
        """Send a body within the time that the request has left; return the answer."""
        own = _all(headers, context)
        return await self._send("POST", path, _seconds(context), content=body, headers=own)

    async def asked(
        self, path: str, body: bytes, headers: Mapping[str, str], context: Context
    ) -> RemoteAnswer:
        """Send a body within the time that the request has left; return the answer of any status.

        Raises as ``post`` does, but for what the server answers.
        """
        own = _all(headers, context)
        return await self._exchange("POST", path, _seconds(context), content=body, headers=own)

    async def stream(
        self, path: str, body: bytes, headers: Mapping[str, str], context: Context
    ) -> AsyncGenerator[bytes, None]:
        """Send a body, and give the answer piece by piece; closing this ends the answer.

        The time that the request has left bounds the wait for each piece. Raises as ``post`` does.
        """
        times = httpx.Timeout(_seconds(context), connect=_CONNECT)
        own = _all(headers, context)
        with self._as_ours():
            asked = self._pool().stream(
                "POST", self._url + path, content=body, headers=own, timeout=times
            )
            async with asked as response:
                self._check_peer(response)
                if response.status_code != 200:
                    self._refuse(await _answer(response))
                async for piece in _pieces(response):
                    yield piece

    async def _send(
        self, method: str, path: str, seconds: float, **more: Any
    ) -> tuple[httpx.Headers, bytes]:
        """Return the headers and body of a success.

        Raises as ``_exchange`` does; Unavailable where the server is overloaded; RemoteError for
        any other status, redirects too.
        """
        answer = await self._exchange(method, path, seconds, **more)
        if answer.status != 200:
            self._refuse(answer)
        return answer.headers, answer.body

    async def _exchange(self, method: str, path: str, seconds: float, **more: Any) -> RemoteAnswer:
        """Return the answer to one request.

        Raises DeadlineExceeded; Unavailable where nothing answers; RemoteError where the URL leads
        to an address that none may lead to; BadAnswer for a body over the bound.
        """
        with self._as_ours():
            async with (
                asyncio.timeout(seconds),
                self._pool().stream(method, self._url + path, **more) as response,
            ):
                self._check_peer(response)
                return await _answer(response)

    @contextmanager
    def _as_ours(self) -> Iterator[None]:
        """Raise the errors of the HTTP client, and a time that has passed, as ours."""
        started = time.monotonic()
        try:
            yield
        except (TimeoutError, httpx.TimeoutException):
            waited = time.monotonic() - started
            raise DeadlineExceeded(f"{self} gave no answer within {waited:.3g}s") from None
        except httpx.TransportError as error:
            raise Unavailable(f"{self} cannot be reached: {type(error).__name__}") from None

    def _check_peer(self, response: httpx.Response) -> None:
        wrong = problem_of(response, response.request.url.host)
        if wrong is not None:
            raise RemoteError(f"{self} may not be asked: {wrong}")

    def _pool(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(LONGEST, connect=_CONNECT),
                limits=_CONNECTIONS,
                # What is packed cannot be bounded before it is unpacked.
                headers={"accept-encoding": "identity"},
                trust_env=False,
                # What a server sets for one caller is none of the next one's.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                # Certifi's certificates, or those of SSL_CERT_FILE or SSL_CERT_DIR.
                verify=httpx.create_ssl_context(),
            )
        return self._client

    def _refuse(self, answer: RemoteAnswer) -> NoReturn:
        status, said = answer.status, self._said(answer.body)
        if status in _REFUSED:
            raise Unavailable(f"{self} is overloaded{said}", retry_after(answer.headers))
        if status == 504:
            raise DeadlineExceeded(f"{self} gave up{said}")
        raise RemoteError(f"{self} answered {status}{said}", status)

    def __str__(self) -> str:
        return self._name


class RemoteRuntime:
    """A runtime that calls a server on the network."""

    def __init__(self, server: RemoteServer) -> None:
        self._server = server

    async def unload(self) -> None:
        """Close the connections."""
        await self._server.close()


def remote_model(url: str, model: str, said: Said = said_of) -> RemoteServer:
    """Return the server below whose ``url`` a model is asked."""
    return RemoteServer(url.rstrip("/"), f"remote model {model!r}", said)


@contextmanager
def loading() -> Iterator[None]:
    """Raise CannotLoad for a server that is away, refuses a request, or answers something else."""
    try:
        yield
    except (RemoteError, BadAnswer, Unavailable, DeadlineExceeded) as error:
        raise CannotLoad(str(error)) from None


def _seconds(context: Context) -> float:
    remaining = context.remaining()
    return LONGEST if remaining is None else remaining


def _all(headers: Mapping[str, str], context: Context) -> dict[str, str]:
    """Return headers with those that say which request, and which trace, a call belongs to."""
    passed_on = {name: context.headers[name] for name in _FORWARDED if name in context.headers}
    if context.trace is not None:
        # So the other server's spans come below the node's.
        passed_on["traceparent"] = context.trace.traceparent
    if context.id:
        passed_on["x-request-id"] = context.id
    return {**headers, **passed_on}


async def _answer(response: httpx.Response) -> RemoteAnswer:
    body = b"".join([piece async for piece in _pieces(response)])
    return RemoteAnswer(response.status_code, response.headers, body)


async def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    size = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        if size > MAX_ANSWER:
            raise BadAnswer(f"its answer is over {MAX_ANSWER} bytes")
        yield piece


def retry_after(headers: httpx.Headers) -> int:
    """Return the seconds of ``Retry-After``, 1 where there is no sensible number."""
    text = headers.get("retry-after", "")
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1
    return seconds if seconds in _RETRY_AFTER else 1
