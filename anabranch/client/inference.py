"""Operations of the Open Inference Protocol that take and return arrays.

Small tensors travel as JSON, which proxies and request logs can show; others, and those that JSON
cannot carry, as binary tensors. Outputs always come back in binary, so that NaN, the infinities and
bytes that are no text arrive as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite, prod
from typing import Any, TypeAlias, TypeVar
from uuid import uuid4

import httpx
import numpy as np

from anabranch.client import control
from anabranch.client.connection.session import EngineSession, ModelTypes
from anabranch.client.http import EngineRequest, Json, Operation, ReplyStream, json_of, send
from anabranch.client.reply import InferenceReply
from anabranch.client.waits import until_answered
from anabranch.components.runtimes.open_inference import wire
from anabranch.components.runtimes.open_inference.wire import LENGTH_HEADER, BadAnswer
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.components.tensors.given import by_input, to_tensor, to_tensors
from anabranch.components.tensors.texts import as_text
from anabranch.errors import EngineError, InvalidRequest
from anabranch.router.oip.generate import FIELDS, OUTPUTS, TEXT_OUTPUT
from anabranch.specs.models import TensorSpec

T = TypeVar("T")
Arrays: TypeAlias = Mapping[str, Array]
SMALL = 4096
"""Most bytes of tensors that are sent as JSON."""
_MARGIN_S = 5.0
"""Time beyond that of a request in which the engine says that the time is over, in seconds."""
_CONNECT_S = 5.0


def infer(
    session: EngineSession,
    graph: str,
    inputs: Any,
    outputs: Sequence[str] | None = None,
    *,
    revision: int | None = None,
    headers: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    id: str = "",
    timeout: float | None = None,
    respond_async: bool = False,
) -> Operation[InferenceReply]:
    """Send an inference request to a graph, and return its outputs as arrays by name.

    ``inputs`` maps each graph input to a value: NumPy arrays and torch tensors must have the
    input's datatype and shape; lists, numbers, texts and pandas objects become the input's
    datatype, unless an element does not fit it. Instead of a mapping, a pandas frame may be given
    whose columns are inputs, and for a graph with one input the value alone. ``outputs`` names the
    outputs to return, all outputs if None.

    ``revision`` answers instead of the one that the graph's traffic chooses. ``headers`` and
    ``parameters`` reach components and traffic rules; the engine makes an ``id`` where none is
    given. ``timeout`` in seconds lowers the graph's own. With ``respond_async`` the engine keeps
    the request and evaluates it when there is time, and this waits for the reply without holding a
    connection, also while the engine restarts.

    Raise InvalidRequest for inputs that do not fit, NotFound for an unknown graph or revision,
    TooLarge, Unavailable, DeadlineExceeded, EngineError if the engine cannot be reached, and
    AnabranchError with the node's name if a component failed.
    """
    asked = wire.Request(id, _parameters(parameters, timeout), tuple(outputs or ()))
    sent_headers = {**(headers or {}), **(control.RESPOND_ASYNC if respond_async else {})}
    post = partial(_post, control.model_path(graph, revision), sent_headers, timeout)

    def sent(arrays: Arrays) -> Operation[InferenceReply]:
        first = yield from post("infer", asked, arrays, {"binary_data_output": True})
        return _reply(graph, (yield from until_answered(first)))

    return (yield from _with_arrays(session, graph, revision, inputs, sent))


def explain(
    session: EngineSession,
    /,
    graph: str,
    inputs: Any,
    explainer: str | None = None,
    *,
    revision: int | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **parameters: Any,
) -> Operation[Json]:
    """Explain a graph's answer to one request, row by row, and return the reply of ``/explain``.

    ``inputs`` are those of ``infer``. ``explainer`` names the explainer, and is needed only where
    the graph has several. ``parameters`` are those of the explainer, such as ``target`` (the
    explained class) and ``seed``. ``timeout`` is in seconds.

    The reply has the ``explanations``, one for each row, or one for the model as a whole. Raise the
    errors of ``infer``.
    """
    named = {} if explainer is None else {"explainer": explainer}
    asked = wire.Request("", _parameters({**parameters, **named}, timeout))
    post = partial(_post, control.model_path(graph, revision), headers, timeout)

    def sent(arrays: Arrays) -> Operation[Json]:
        return json_of((yield from post("explain", asked, arrays, {})))

    return (yield from _with_arrays(session, graph, revision, inputs, sent))


def feedback(
    session: EngineSession,
    graph: str,
    answer: InferenceReply | str,
    reward: float | None = None,
    truth: Any = None,
) -> Operation[Json]:
    """Send a reward or the truth for an answer, and return ``{"id", "counted", "reward"}``.

    ``answer`` is a reply of ``infer``, or the id of its request. ``reward`` is a finite number,
    more is better. ``truth`` is the right label, or one label for each row (a list or an array);
    without a reward, the reward is the share of rows whose label was right. One reward counts for a
    request: ``counted`` is false for a second one.

    Raise InvalidRequest without reward and truth, and for a reward that does not suit the graph's
    learning routers; NotFound for an id that is not remembered.
    """
    body: Json = {"id": answer} if isinstance(answer, str) else _named(answer)
    if reward is not None:
        body["reward"] = _finite(reward)
    if truth is not None:
        body["truth"] = _labels(truth)
    return (yield from control.feedback(graph, body))


def stream(
    session: EngineSession,
    graph: str,
    inputs: Any,
    *,
    revision: int | None = None,
    headers: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    timeout: float | None = None,
) -> Operation[ReplyStream[InferenceReply]]:
    """Send a request, and yield replies as the graph streams them; one if it does not stream.

    Arguments and errors are those of ``infer``. Each reply has the outputs that came with it.
    Inputs travel as JSON, so numbers must be finite, and BYTES text.
    """
    types = yield from _types(session, graph, revision)
    arrays = _arrays(by_input(inputs, types.inputs, graph), types.inputs)
    body = {name: _listed(name, array) for name, array in arrays.items()}
    body.setdefault("parameters", _parameters(parameters, timeout))
    body.setdefault("id", uuid4().hex)  # which comes back in each event
    path = f"{control.model_path(graph, revision)}/generate_stream"
    options = {"json": body, "headers": dict(headers or {}), **_patience(timeout)}
    name = f"the stream of graph {graph!r}"
    return ReplyStream(EngineRequest("POST", path, options), partial(_streamed, graph, types), name)


def _streamed(graph: str, types: ModelTypes, event: Json) -> InferenceReply | None:
    """Return the outputs of an event as arrays; None for the event that ends the stream.

    An output of unknown type has the datatype and shape of its JSON; a text of unknown type that is
    the graph's only one is called ``text_output``.
    """
    if event.get("done") is True:
        return None
    texts = [name for name, declared in types.outputs.items() if declared.datatype == "BYTES"]
    outputs: dict[str, Array] = {}
    named = {name: value for name, value in event.items() if name not in FIELDS}
    for name, value in {**named, **event.get(OUTPUTS, {})}.items():
        own = texts[0] if name == TEXT_OUTPUT and len(texts) == 1 else name
        outputs[own] = _event_array(value, types.outputs.get(own))
    return InferenceReply(
        graph, int(event["model_version"]), event.get("id") or "", outputs,
        event.get("parameters") or {},
    )  # fmt: skip


def _with_arrays(
    session: EngineSession,
    graph: str,
    revision: int | None,
    inputs: Any,
    sent: Callable[[Arrays], Operation[T]],
) -> Operation[T]:
    """Send inputs as arrays; values without datatypes of their own by the types of the graph.

    Types may have changed since they were asked for: where inputs are refused, they are asked for
    anew, and if they differ, the request is sent once more. A refused request did nothing.
    """
    ready = to_tensors(inputs) if isinstance(inputs, Mapping) else None
    if ready is not None:
        return (yield from sent(ready))
    before = session.types.get((graph, revision))
    types = before or (yield from _types(session, graph, revision))
    try:
        given = by_input(inputs, types.inputs, graph)
        return (yield from sent(_arrays(given, types.inputs)))
    except InvalidRequest:
        session.types.pop((graph, revision), None)  # another thread may have forgotten them
        if before is None:
            raise
        now = yield from _types(session, graph, revision)
        if now == before:
            raise
    given = by_input(inputs, now.inputs, graph)
    return (yield from sent(_arrays(given, now.inputs)))


def _types(session: EngineSession, graph: str, revision: int | None) -> Operation[ModelTypes]:
    found = yield from control.metadata(graph, revision)
    types = ModelTypes(declared(found["inputs"]), declared(found["outputs"]))
    session.types[graph, revision] = types
    return types


def declared(tensors: Sequence[Json]) -> dict[str, TensorSpec]:
    """Return the types of tensors by name, of a graph's metadata."""
    return {
        one["name"]: TensorSpec(datatype=one["datatype"], shape=tuple(one["shape"]))
        for one in tensors
    }


def _arrays(given: Mapping[str, Any], types: Mapping[str, TensorSpec]) -> dict[str, Array]:
    return {name: to_tensor(name, value, types[name]) for name, value in given.items()}


def _post(
    path: str,
    headers: Mapping[str, str] | None,
    timeout: float | None,
    endpoint: str,
    request: wire.Request,
    arrays: Arrays,
    form: Mapping[str, bool],
) -> Operation[httpx.Response]:
    body, length = _encoded(
        wire.Request(request.id, {**request.parameters, **form}, request.outputs), arrays
    )
    sent = {"content-type": "application/json", "accept-encoding": "identity", **(headers or {})}
    if length is not None:
        sent |= {"content-type": "application/octet-stream", LENGTH_HEADER: str(length)}
    url = f"{path}/{endpoint}"
    return (yield from send("POST", url, content=body, headers=sent, **_patience(timeout)))


def _encoded(request: wire.Request, arrays: Arrays) -> tuple[bytes, int | None]:
    """Return a request's body, and the length of its JSON if binary tensors follow."""
    if sum(array.nbytes for array in arrays.values()) <= SMALL:
        try:
            return wire.encode(request, arrays, binary=False)
        except (ValueError, TypeError):
            pass  # JSON has no NaN, no infinity and no bytes that are not UTF-8
    try:
        return wire.encode(request, arrays, binary=True)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"the request cannot be encoded: {error}") from None


def _reply(graph: str, reply: httpx.Response) -> InferenceReply:
    try:
        document, outputs = wire.read(reply.content, reply.headers.get(LENGTH_HEADER))
        revision = int(document["model_version"])
    except (BadAnswer, KeyError, ValueError) as error:
        raise EngineError(f"the reply of {reply.url} cannot be read: {error}") from None
    id = document.get("id") or reply.headers.get("x-request-id", "")
    return InferenceReply(graph, revision, id, outputs, document.get("parameters") or {})


def _parameters(given: Mapping[str, Any] | None, timeout: float | None) -> dict[str, Any]:
    """Return the parameters of a request; ``timeout``, in seconds, is one in microseconds."""
    own = {} if timeout is None else {"timeout": max(1, round(timeout * 1e6))}
    return {**(given or {}), **own}


def _patience(timeout: float | None) -> dict[str, Any]:
    """Return the options of a request for which the engine may take its ``timeout``, in seconds."""
    if timeout is None:
        return {}
    return {"timeout": httpx.Timeout(timeout + _MARGIN_S, connect=_CONNECT_S)}


def _named(answer: InferenceReply) -> Json:
    return {"id": answer.id} if answer.routing is None else {"routing": answer.routing}


def _finite(reward: float) -> float:
    if not isfinite(reward):
        raise InvalidRequest(f"a reward is a finite number, not {reward}")
    return float(reward)


def _labels(truth: Any) -> Any:
    try:
        return np.asarray(truth).tolist()
    except ValueError as error:
        raise InvalidRequest(f"the truth is a label, or one for each row: {error}") from None


def _listed(name: str, array: Array) -> Any:
    """Return a tensor as nested lists; raise InvalidRequest for what JSON does not have."""
    try:
        found = as_text(array).astype(object) if array.dtype.kind in "OSU" else array
    except ValueError as error:
        raise InvalidRequest(f"input {name!r}: {error}, and streams take text alone") from None
    if array.dtype.kind not in "OSUbiu" and not np.isfinite(array.astype(np.float64)).all():
        raise InvalidRequest(f"input {name!r} holds NaN or infinity, which no stream can take")
    return found.tolist()


def _event_array(value: Any, declared: TensorSpec | None) -> Array:
    """Return an output of an event, which is a scalar if it has one element, else nested lists."""
    if declared is None:
        return np.asarray(value, object if isinstance(value, str) else None)
    array = np.array(value, to_dtype(declared.datatype))
    one = [1 if size == -1 else size for size in declared.shape]
    return array.reshape(one) if array.ndim == 0 and prod(one) == 1 else array
