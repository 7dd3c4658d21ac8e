"""An entry of the request log as a CloudEvent 1.0 in structured JSON, and back.

Sources: ``spec.md``, ``formats/json-format.md`` and ``extensions/distributed-tracing.md`` of
https://github.com/cloudevents/spec.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from anabranch.router.request_log.entries import KeptTensor, LogEntry, RewardLogEntry
from anabranch.router.request_log.tensors import LoggedTensor, encode_tensor

VERSION = "1.0"
TYPE = "io.anabranch.inference.v1"
FEEDBACK = "io.anabranch.feedback.v1"
JSON = "application/json"


class AskedOutput(msgspec.Struct):
    """An output that a request asked for."""

    name: str


class LoggedRequest(msgspec.Struct):
    """A request as a log has it: one of the Open Inference Protocol, see ``tensors``."""

    inputs: list[LoggedTensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[AskedOutput] = []


class LoggedResponse(msgspec.Struct):
    """A reply as a log has it."""

    outputs: list[LoggedTensor]


class Data(msgspec.Struct):
    """The data of an event, as far as it is read again."""

    request: LoggedRequest
    graph: str = ""
    revision: int = 0
    response: LoggedResponse | None = None
    nodes: list[LoggedTensor] = []
    """Values of nodes, by ``node.output``."""
    responses: list[LoggedResponse] | None = None
    """The parts of the reply of a graph that streams."""
    omitted: list[str] = []
    """Parts too large to be logged: the request's parameters, the last parts of the reply."""


class LogEvent(msgspec.Struct):
    """An event, as far as it is read again."""

    id: str
    type: str
    data: Data
    time: datetime | None = None
    """When the request came."""


class LoggedReward(msgspec.Struct):
    """The data of an event of feedback."""

    id: str
    graph: str
    reward: float
    truth: list[bool | int | float | str] | None = None


class RewardEvent(msgspec.Struct):
    """An event of feedback, as far as it is read again."""

    type: str
    data: LoggedReward


def encode(entry: LogEntry | RewardLogEntry, most: int) -> bytes:
    """An entry as one line of JSON, without its end.

    Where that is over ``most`` bytes, no tensor has its data.
    """
    if isinstance(entry, RewardLogEntry):
        return orjson.dumps(_event(entry, FEEDBACK, _reward(entry)))
    text = orjson.dumps(_inference(entry), option=orjson.OPT_SERIALIZE_NUMPY)
    if len(text) <= most:
        return text
    bare = replace(
        entry,
        inputs=[_without(tensor) for tensor in entry.inputs],
        parts=[[_without(tensor) for tensor in part] for part in entry.parts],
        nodes=[_without(tensor) for tensor in entry.nodes],
    )
    return orjson.dumps(_inference(bare))


def _without(tensor: KeptTensor) -> KeptTensor:
    return replace(tensor, array=None, hidden=tensor.hidden or "omitted")


def _inference(entry: LogEntry) -> Mapping[str, Any]:
    data = _data(entry)
    if entry.traceparent is None:
        return _event(entry, TYPE, data)
    return {**_event(entry, TYPE, data), "traceparent": entry.traceparent}


def _reward(entry: RewardLogEntry) -> Mapping[str, Any]:
    return {
        "graph": entry.graph,
        "revision": entry.revision,
        "endpoint": "feedback",
        "protocol": "",
        "seconds": 0.0,
        "id": entry.id,
        "reward": entry.reward,
        "truth": None if entry.truth is None else list(entry.truth),
    }


def _event(
    entry: LogEntry | RewardLogEntry, kind: str, data: Mapping[str, Any]
) -> Mapping[str, Any]:
    return {
        "specversion": VERSION,
        "id": entry.id,
        "source": f"/v2/models/{entry.graph}/versions/{entry.revision}",
        "type": kind,
        "time": timestamp(datetime.fromtimestamp(entry.at, UTC)),
        "datacontenttype": JSON,
        "data": data,
    }


def _data(entry: LogEntry) -> Mapping[str, Any]:
    data: dict[str, Any] = {
        "graph": entry.graph,
        "revision": entry.revision,
        "endpoint": entry.endpoint,
        "protocol": entry.protocol,
        "seconds": round(entry.seconds, 7),
        "request": _request(entry),
    }
    omitted = ["parameters"] * (entry.parameters is None) + ["responses"] * entry.is_cut
    if omitted:
        data["omitted"] = omitted
    if entry.path:
        data["path"] = dict(entry.path)
    if entry.nodes:
        data["nodes"] = [encode_tensor(tensor) for tensor in entry.nodes]
    if entry.failure is not None:
        data["error"] = _error(entry)
    elif len(entry.parts) == 1:
        data["response"] = _response(entry, entry.parts[0])
    else:
        data["responses"] = [_response(entry, part) for part in entry.parts]
    return data


def _request(entry: LogEntry) -> Mapping[str, Any]:
    request: dict[str, Any] = {} if entry.own_id is None else {"id": entry.own_id}
    if entry.parameters:
        request["parameters"] = entry.parameters
    request["inputs"] = [encode_tensor(tensor) for tensor in entry.inputs]
    if entry.asked:
        request["outputs"] = [{"name": name} for name in entry.asked]
    return request


def _response(entry: LogEntry, outputs: Iterable[KeptTensor]) -> Mapping[str, Any]:
    response: dict[str, Any] = {
        "model_name": entry.graph,
        "model_version": str(entry.revision),
        "outputs": [encode_tensor(tensor) for tensor in outputs],
    }
    return response if entry.own_id is None else {**response, "id": entry.own_id}


def _error(entry: LogEntry) -> Mapping[str, Any]:
    failure = entry.failure
    assert failure is not None
    error: dict[str, Any] = {"class": failure.kind, "status": failure.status}
    return error | ({"redacted": True} if failure.message is None else {"message": failure.message})


def timestamp(at: datetime) -> str:
    """Return a time of UTC as events tell it, with all six digits of a second."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
