"""Entries of the request log, copied from requests and replies on the request path.

Arrays are copied: components may work in place, and may hand out buffers that they use again. What
is not to be logged is not kept in the first place, so it cannot get out later.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from anabranch.components.tensors.datatypes import to_datatype
from anabranch.components.tensors.memory import size_of
from anabranch.errors import AnabranchError
from anabranch.router.errors import status_of
from anabranch.router.inference.contract import Array, InferenceRequest, InferenceResponse

Hidden: TypeAlias = Literal["redacted", "omitted"]
"""Why a tensor's data is not there: its name says so, or its size."""

MAX_TENSOR = 64 * 2**10
"""Bytes of the largest tensor that is logged, where the spec does not say."""
MAX_PARAMETERS = 16 * 2**10
"""Characters of the parameters of a request beyond which they are left out."""
MAX_MESSAGE = 2048
"""Longest message of an error, in characters."""
MAX_PARTS = 1000
"""Parts of a reply that are logged of a graph that streams."""
_PART = 256
"""Bytes that a tensor takes beside its data, about."""
_PREFIX = 4
"""Bytes before each element of BYTES in its raw form."""
_OVERHEAD = 1024
"""Bytes that an entry takes beside its tensors, about."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch


@dataclass(frozen=True, slots=True)
class KeptTensor:
    """A tensor as it is logged; ``array`` is None where its data is hidden."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    array: Array | None
    hidden: Hidden | None = None


@dataclass(frozen=True, slots=True)
class LoggedFailure:
    """Why there was no reply: class and message of the error, and the status of HTTP."""

    kind: str
    status: int
    message: str | None
    """None where it is redacted."""


@dataclass(frozen=True, slots=True)
class LogRule:
    """The tensors and parameters of an arm's requests that may be logged."""

    redact: frozenset[str] = frozenset()
    """Names of tensors; of a node's output without the node's."""
    max_tensor: int = MAX_TENSOR
    """Bytes of the raw form of a tensor."""
    known: Collection[str] = ()
    """The graph's inputs: a tensor that it does not have may be a redacted one, misspelt."""
    most: int = 2**20
    """Bytes of all tensors of an entry together."""


@dataclass(slots=True)
class LogEntry:
    """A request with its reply, on the way to the log."""

    id: str
    graph: str
    revision: int
    endpoint: str
    protocol: str
    at: float
    """When it came, in Unix seconds, which jump where somebody sets the clock."""
    own_id: str | None
    """The caller's identifier in the request."""
    parameters: Mapping[str, Any] | None
    """None where they are left out, for their size."""
    asked: tuple[str, ...]
    """Outputs that were asked for; all if empty."""
    inputs: list[KeptTensor]
    traceparent: str | None = None
    parts: list[list[KeptTensor]] = field(default_factory=list)
    """Outputs of the reply; where the graph streams, of each part of it."""
    nodes: list[KeptTensor] = field(default_factory=list)
    """Values of nodes that the log is to have, by ``node.output``."""
    path: Mapping[str, str] = field(default_factory=dict)
    """Routes that were picked, by router node."""
    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    failure: LoggedFailure | None = None
    is_cut: bool = False
    """Whether there were more parts than are kept."""
    size: int = 0
    """Bytes that the entry holds, about."""


@dataclass(frozen=True, slots=True)
class RewardLogEntry:
    """A reward that counts, on the way to the log."""

    id: str
    """The id of the request, as feedback names it."""
    graph: str
    revision: int
    reward: float
    truth: Sequence[bool | int | float | str] | None
    """The right label of each row, where the feedback told it."""
    at: float = field(default_factory=time.time)
    size: int = _OVERHEAD


def begin(rule: LogRule, graph: str, revision: int, request: InferenceRequest) -> LogEntry:
    """Keep a request before it is evaluated."""
    parameters = dict(request.parameters)
    characters = sum(len(text) for text in _texts(parameters))
    tensors = [(name, to_datatype(array.dtype), array) for name, array in request.inputs.items()]
    entry = LogEntry(
        request.request_id,
        graph,
        revision,
        request.endpoint,
        request.protocol,
        time.time(),
        request.id,
        parameters if characters <= MAX_PARAMETERS else None,
        request.outputs,
        [],
        _traceparent(request),
        size=_OVERHEAD + (characters if characters <= MAX_PARAMETERS else 0),
    )
    entry.inputs = [_kept(rule, entry, *tensor, tensor[0] in rule.known) for tensor in tensors]
    return entry


def answered(rule: LogRule, entry: LogEntry, response: InferenceResponse) -> None:
    """Add the reply, or a part of it."""
    entry.path, entry.seconds = response.path, response.seconds
    if not entry.nodes and response.annotations is not None and response.annotations.values:
        entry.nodes = [
            _kept(rule, entry, name, to_datatype(array.dtype), array)
            for name, array in response.annotations.values.items()
        ]
        entry.size += _PART * len(entry.nodes)
    if len(entry.parts) == MAX_PARTS:
        entry.is_cut = True
        return
    entry.parts.append(
        [
            _kept(rule, entry, output.name, output.datatype, output.array)
            for output in response.outputs
        ]
    )
    entry.size += _PART * len(response.outputs)


def failed(rule: LogRule, entry: LogEntry, error: Exception) -> None:
    """Add the error that stands in the reply's place.

    Nobody knows what a component quotes in its message, so it is kept only if nothing is redacted.
    """
    entry.seconds = time.perf_counter() - entry.began
    message = str(error) if isinstance(error, AnabranchError) else "internal error"
    entry.failure = LoggedFailure(
        type(error).__name__,
        status_of(error) or 500,
        None if rule.redact else message[:MAX_MESSAGE],
    )


def _kept(
    rule: LogRule, entry: LogEntry, name: str, datatype: str, array: Array, is_known: bool = True
) -> KeptTensor:
    if name in rule.redact or name.rpartition(".")[2] in rule.redact:
        return KeptTensor(name, datatype, array.shape, None, "redacted")
    left = min(rule.max_tensor, rule.most - entry.size)
    if not is_known or raw_size(array, left) > left:
        return KeptTensor(name, datatype, array.shape, None, "omitted")
    try:
        kept = KeptTensor(name, datatype, array.shape, array.copy())
    except MemoryError:
        return KeptTensor(name, datatype, array.shape, None, "omitted")
    entry.size += size_of(array)
    return kept


def raw_size(array: Array, most: int) -> int:
    """Bytes of an array's raw form; where that is over ``most``, some number over it.

    No more elements of BYTES are looked at than fit into ``most``.
    """
    if array.dtype != object:
        return array.nbytes
    size = _PREFIX * array.size
    if size <= most:
        size += sum(len(item) if isinstance(item, bytes) else len(item.encode("utf-8", "replace"))
                    for item in array.ravel().tolist())  # fmt: skip
    return size


def _texts(parameters: Mapping[str, Any]) -> Iterable[str]:
    return [*parameters, *(value for value in parameters.values() if isinstance(value, str))]


def _traceparent(request: InferenceRequest) -> str | None:
    """Where the request is in a trace: in ours, or in the caller's where that is not recorded."""
    if request.trace is not None:
        return f"00-{request.trace.trace_id}-{request.trace.span_id}-01"
    text = request.headers.get("traceparent", "")
    return text if _TRACEPARENT(text) else None
