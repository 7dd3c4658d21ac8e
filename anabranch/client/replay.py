"""Sends a request log to a graph or to a revision, and compares the replies with those logged.

A request is sent as it came, with three differences: its id is ``replay-`` and the id of its event,
so that it is known in logs and traces, and rewards for the first one do not go to the second; it
has the graph's whole time; and no explanation is asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import httpx
import numpy as np
import orjson

from anabranch.client.connection.trust import Verify
from anabranch.components.runtimes.open_inference import wire
from anabranch.components.runtimes.open_inference.wire import LENGTH_HEADER, BadAnswer
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import kind_of
from anabranch.errors import InvalidRequest
from anabranch.router.inference.core import TIMEOUT
from anabranch.router.request_log.events import LogEvent, LoggedRequest
from anabranch.router.request_log.tensors import decode_tensor
from anabranch.router.traffic.agreement import compare
from anabranch.router.traffic.explaining import EXPLAIN
from anabranch.specs.models import Compare

Outcome: TypeAlias = Literal["equal", "close", "differs", "failed"]
Skipped: TypeAlias = Literal["unreadable", "error", "streamed", "redacted", "omitted"]
"""Why a request is not sent: its line is no event, it was answered with an error or piece by piece,
or what it would take was not logged."""

SHOWN = 10
"""Most requests with a bad outcome that are reported."""
_EXACT = Compare(rtol=0.0, atol=0.0)
_LEFT_OUT = frozenset((TIMEOUT, EXPLAIN))
_CONNECT_S = 5.0


@dataclass(frozen=True)
class ReplayRequest:
    """A request to send, and its expected reply."""

    id: str
    body: bytes
    json_length: int | None
    expected: Mapping[str, Array]


@dataclass(frozen=True)
class Remark:
    """The difference between a reply and the logged one."""

    id: str
    outcome: Outcome
    detail: str


@dataclass
class Replayed:
    """The results of a replay so far."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    skipped: Counter[Skipped] = field(default_factory=Counter)
    remarks: list[Remark] = field(default_factory=list)
    """The first replies that differ or failed."""
    seconds: float = 0.0

    @property
    def sent(self) -> int:
        """Requests that were sent, and judged."""
        return sum(self.outcomes.values())

    @property
    def is_good(self) -> bool:
        """Whether a request was sent, and all replies were equal or close."""
        return self.sent > 0 and self.sent == self.outcomes["equal"] + self.outcomes["close"]

    def note(self, id: str, outcome: Outcome, detail: str) -> None:
        """Count a reply."""
        self.outcomes[outcome] += 1
        if detail and len(self.remarks) < SHOWN:
            self.remarks.append(Remark(id, outcome, detail))


@dataclass(frozen=True)
class ReplayPace:
    """The pace of a replay."""

    concurrency: int = 8
    rate: float | None = None
    """Most requests a second."""
    limit: int | None = None
    """Most requests in all."""


def prepare(event: LogEvent | None) -> ReplayRequest | Skipped:
    """Return the request of an event, or the reason why it is skipped."""
    if event is None:
        return "unreadable"
    request, response = event.data.request, event.data.response
    if response is None:
        return "error" if event.data.responses is None else "streamed"
    if event.data.omitted:
        return "omitted"
    known = [tensor for tensor in response.outputs if not tensor.is_hidden]
    hidden = [tensor for tensor in request.inputs if tensor.is_hidden]
    hidden = hidden or ([] if known else list(response.outputs))
    if hidden:
        return "redacted" if any(tensor.redacted for tensor in hidden) else "omitted"
    try:
        expected = {tensor.name: decode_tensor(tensor) for tensor in known}
        body, length = _encoded(event.id, request)
    except (InvalidRequest, ValueError):
        return "unreadable"
    return ReplayRequest(event.id, body, length, expected)


def _encoded(id: str, request: LoggedRequest) -> tuple[bytes, int | None]:
    """A request's body, whose tensors are binary."""
    parameters = {name: value for name, value in request.parameters.items()
                  if name not in _LEFT_OUT}  # fmt: skip
    asked = tuple(output.name for output in request.outputs)
    inputs = {tensor.name: decode_tensor(tensor) for tensor in request.inputs}
    return wire.encode(wire.Request(f"replay-{id}", parameters, asked), inputs, binary=True)


async def replay(
    url: str,
    events: Iterator[LogEvent | None],
    rule: Compare,
    pace: ReplayPace,
    timeout: float,
    said: Callable[[Replayed], None] = lambda found: None,
    verify: Verify = True,
) -> Replayed:
    """Send events to the graph or revision at ``url``; ``said`` hears how it goes.

    No more is read ahead than is being sent. Replies are compared as a mirror's are, by ``rule``;
    each has ``timeout`` seconds. ``verify`` is what HTTPX verifies certificates by.
    """
    found, sending = Replayed(), _Sending(url, timeout, rule, verify)
    started = time.monotonic()
    parcels = _parcels(events, found, pace.limit)
    turn = asyncio.Lock()

    async def worker() -> None:
        while True:
            async with turn:
                parcel = next(parcels, None)
                if parcel is None:
                    return
                if pace.rate is not None:
                    await asyncio.sleep(1 / pace.rate)
            found.note(parcel.id, *await sending.judged(parcel))
            said(found)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(pace.concurrency):
                group.create_task(worker())
    finally:
        await sending.close()
    found.seconds = time.monotonic() - started
    return found


def _parcels(
    events: Iterator[LogEvent | None], found: Replayed, limit: int | None
) -> Iterator[ReplayRequest]:
    left = limit
    for event in events:
        if left == 0:
            return
        parcel = prepare(event)
        if isinstance(parcel, str):
            found.skipped[parcel] += 1
            continue
        left = None if left is None else left - 1
        yield parcel


class _Sending:
    """Asks a graph, and judges its replies."""

    def __init__(self, url: str, timeout: float, rule: Compare, verify: Verify) -> None:
        self._url = f"{url}/infer"
        self._rule = rule
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout, connect=_CONNECT_S), trust_env=False, verify=verify
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def judged(self, parcel: ReplayRequest) -> tuple[Outcome, str]:
        headers = {"content-type": "application/octet-stream"}
        if parcel.json_length is not None:
            headers[LENGTH_HEADER] = str(parcel.json_length)
        try:
            reply = await self._http.post(self._url, content=parcel.body, headers=headers)
        except httpx.HTTPError as error:
            return "failed", f"{type(error).__name__}: {error}".rstrip(": ")
        if reply.status_code != 200:
            return "failed", f"status {reply.status_code}{_said(reply.content)}"
        try:
            outputs = wire.decode(reply.content, reply.headers.get(LENGTH_HEADER))
        except BadAnswer as error:
            return "failed", str(error)
        return judge(parcel.expected, outputs, self._rule)


def _said(body: bytes) -> str:
    try:
        return f": {orjson.loads(body)['error']}"[:500]
    except (ValueError, KeyError, TypeError):
        return ""


def judge(
    expected: Mapping[str, Array], outputs: Mapping[str, Array], rule: Compare
) -> tuple[Outcome, str]:
    """Compare a reply with the logged one: the outcome, and what differs.

    Only outputs whose data was logged count. Equal are those of one datatype and shape whose
    elements are; NaN is equal to NaN.
    """
    given = {name: outputs[name] for name in expected if name in outputs}
    if not compare(expected, given, rule).close:
        return "differs", difference(expected, given, rule)
    same_types = all(array.dtype == given[name].dtype for name, array in expected.items())
    is_equal = same_types and compare(expected, given, _EXACT).close
    return ("equal" if is_equal else "close"), ""


def difference(expected: Mapping[str, Array], given: Mapping[str, Array], rule: Compare) -> str:
    """Return the first difference in words."""
    for name, array in expected.items():
        if name not in given:
            return f"output {name!r} is missing"
        other = given[name]
        if array.shape != other.shape or kind_of(array.dtype) != kind_of(other.dtype):
            return (
                f"output {name!r} is {other.dtype}{list(other.shape)} instead of "
                f"{array.dtype}{list(array.shape)}"
            )
        if not compare({name: array}, {name: other}, rule).close:
            return f"output {name!r}: {_first(array, other, rule)}"
    return ""


def _first(array: Array, other: Array, rule: Compare) -> str:
    """Return the first different element."""
    one, two = array.reshape(-1), other.reshape(-1)
    low, high = 0, one.size
    while high - low > 1:  # halves: one has the first difference
        middle = (low + high) // 2
        if compare({"": one[low:middle]}, {"": two[low:middle]}, rule).close:
            low = middle
        else:
            high = middle
    place: Any = [int(index) for index in np.unravel_index(low, array.shape)]
    return f"{_shown(two[low])} instead of {_shown(one[low])} at {place}"


def _shown(element: Any) -> str:
    value = element.item() if isinstance(element, np.generic) else element
    return repr(value)[:80]
