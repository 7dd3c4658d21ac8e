"""The errors that anabranch raises on purpose.

    AnabranchError
    ├── SpecError              a spec that does not compile; carries every Problem found
    ├── LoadError              a node's code or model cannot be loaded; names the node
    ├── ArtefactError          a model file is missing, untrusted or does not match its digest
    ├── RequestError           a mistake of the client
    │   ├── InvalidRequest     malformed body, missing or extra tensor, wrong datatype or shape
    │   ├── Unauthenticated    no credentials, or some that are not known
    │   ├── Forbidden          known credentials, which do not allow it
    │   ├── TooManyRequests    a caller is over one of its limits; try again later
    │   ├── NotFound           unknown graph, revision or path
    │   └── TooLarge           a limit on the request was passed
    ├── NodeError              a node raised, or returned an invalid result; names the node
    │   └── StatusError        a node failed with a status of HTTP, which the client gets
    ├── Unavailable            queue full or no healthy replica; try again later
    │   ├── Interrupted        the process that evaluated the request has ended
    │   ├── LeaseLost          another controller holds the store; also an EngineError
    │   └── StorageError       a folder is full or read-only; also an EngineError
    ├── DeadlineExceeded       the request's time ran out
    ├── Conflict               the graph's state does not allow the operation; nothing has changed
    ├── DeployError            a revision did not become healthy; names the node and the reason
    ├── JobError               a batch job cannot begin or go on; what it has written stays
    └── EngineError            no engine, engine unreachable, wrong token

Errors cross processes, so each can be pickled. No message ever holds a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

FieldPath: TypeAlias = tuple[str | int, ...]
"""A field, such as ``("spec", "nodes", "forest", "inputs", "x")``."""
Mistake: TypeAlias = tuple[FieldPath, str]
"""A field, of a spec or below a node, and what is wrong with it."""
MAX_MESSAGE = 4096
"""Longest text of a SpecError, in bytes."""


def in_one_line(error: BaseException) -> str:
    """Return the text of any error in one line, or the name of its type where it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


class AnabranchError(Exception):
    """Base of all errors that anabranch raises on purpose."""


@dataclass(frozen=True)
class Position:
    """A place in a file; ``line`` and ``column`` count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One mistake in a spec.

    ``path`` is the field, such as ``("spec", "nodes", "forest", "inputs", "x")``.
    ``position`` is the field's place in ``file``; both are None for graphs built in Python.
    ``excerpt`` shows the place, where the file is not even YAML.
    """

    path: tuple[str | int, ...]
    message: str
    position: Position | None = None
    file: str | None = None
    excerpt: str = ""

    def __str__(self) -> str:
        field = ".".join(str(part) for part in self.path)
        text = f"{field}: {self.message}" if field else self.message
        text = f"{text}\n{self.excerpt}" if self.excerpt else text
        if self.position is None:
            return f"{self.file}: {text}" if self.file else text
        return f"{self.file or '<spec>'}:{self.position.line}:{self.position.column}: {text}"


class SpecError(AnabranchError):
    """A spec has mistakes; ``problems`` holds all of them, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(_bounded([str(problem) for problem in self.problems]))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.problems,))


def _bounded(lines: list[str]) -> str:
    """Join lines into at most MAX_MESSAGE bytes, and end with the number of omitted lines."""
    kept: list[str] = []
    size = 0
    for index, line in enumerate(lines):
        size += len(line.encode("utf-8", "replace")) + 1
        if size > MAX_MESSAGE - 64:
            kept.append(f"… and {len(lines) - index} more problems")
            break
        kept.append(line)
    return "\n".join(kept)


class LoadError(AnabranchError):
    """A node could not be constructed or loaded; or a monitor, where ``what`` is "monitor"."""

    def __init__(self, node: str, reason: str, what: str = "node") -> None:
        self.node, self.reason, self.what = node, reason, what
        super().__init__(f"{what} {node!r}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.node, self.reason, self.what))


class ArtefactError(AnabranchError):
    """A model file is missing, untrusted, or has another digest than the spec gives."""


class RequestError(AnabranchError):
    """A request has a mistake of the client; base of the errors of requests."""


class InvalidRequest(RequestError):
    """A request's body, tensor, datatype, shape or parameter is not valid for the graph."""


class Unauthenticated(RequestError):
    """A request shows no credentials where some are needed, or some that are not known."""


class Forbidden(RequestError):
    """A request shows credentials that do not allow what it asks for."""


class Quota(NamedTuple):
    """A quota of a caller, as draft-ietf-httpapi-ratelimit-headers-06 tells of it.

    ``limit`` in ``window`` seconds, of which none are left; some are in ``reset`` seconds.
    """

    limit: int
    window: int
    reset: int


class TooManyRequests(RequestError):
    """A caller is over one of its limits; ``retry_after`` is in seconds.

    ``quota`` is the used-up limit of a span of time; None for other limits.
    """

    def __init__(self, message: str, retry_after: int = 1, quota: Quota | None = None) -> None:
        self.retry_after, self.quota = retry_after, quota
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (str(self), self.retry_after, self.quota))


class NotFound(RequestError):
    """A request names an unknown graph, revision or path."""


class TooLarge(RequestError):
    """A request exceeds one of the limits on its size."""


class NodeError(AnabranchError):
    """A node raised, or returned an invalid result; ``node`` and ``reason`` say which and why."""

    def __init__(self, node: str, reason: str) -> None:
        self.node, self.reason = node, reason
        super().__init__(f"node {node!r} failed: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.node, self.reason))


class StatusError(NodeError):
    """A node failed with a status of HTTP from 400 to 599, which the client gets.

    The status is that of the server that the node called, or 404 if no rule of a router holds.
    ``body`` is what that server answered; None if there is no such answer, or it is too large.
    """

    def __init__(self, node: str, reason: str, status: int, body: bytes | None = None) -> None:
        self.status, self.body = status, body
        super().__init__(node, reason)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.node, self.reason, self.status, self.body))


class Unavailable(AnabranchError):
    """A queue is full, or no replica is healthy; ``retry_after`` is in seconds.

    ``body`` is the answer of a called server with the status 503; None for any other cause.
    """

    def __init__(self, message: str, retry_after: int = 1, body: bytes | None = None) -> None:
        self.retry_after, self.body = retry_after, body
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        body = () if self.body is None else (self.body,)
        return (type(self), (str(self), self.retry_after, *body))


class Interrupted(Unavailable):
    """A process has ended while it evaluated the request: by chance, or by what it was asked."""


class DeadlineExceeded(AnabranchError):
    """The request's deadline passed before its outputs were computed.

    ``body`` is the answer of a called server with the status 504; None for any other cause.
    """

    def __init__(self, message: str = "", body: bytes | None = None) -> None:
        self.body = body
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        body = () if self.body is None else (self.body,)
        return (type(self), (str(self), *body))


class Conflict(AnabranchError):
    """The state of the graph does not allow the operation; nothing has changed."""


class DeployError(AnabranchError):
    """A revision did not become healthy; the message names the node and the reason."""


class JobError(AnabranchError):
    """A batch job cannot begin, or cannot go on; what it has written so far stays."""


class EngineError(AnabranchError):
    """The engine is not running, cannot be reached, or refuses the caller."""


class LeaseLost(EngineError, Unavailable):
    """Another controller holds the store, or no controller does; nothing has changed."""


class StorageError(EngineError, Unavailable):
    """A folder takes no file: it is full, read-only or another user's; nothing has changed."""
