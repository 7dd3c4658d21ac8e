"""The runtime ``openai``: a node that asks a language model behind the API of OpenAI."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, cast

import orjson

from anabranch.components.contract import CannotLoad, Context
from anabranch.components.registry import register
from anabranch.components.runtimes.completions import joined, output_types, vector_types
from anabranch.components.runtimes.open_inference.addresses import address_mistakes
from anabranch.components.runtimes.open_inference.server import (
    RemoteError,
    RemoteRuntime,
    loading,
    remote_model,
    said_line,
)
from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.components.runtimes.openai.answers import chunk, embeddings, whole
from anabranch.components.runtimes.openai.asking import ENDPOINTS, TaskName, body_of
from anabranch.components.runtimes.openai.events import events
from anabranch.components.runtimes.signatures import no_method
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.types import Args, Types
from anabranch.errors import InvalidRequest, Mistake
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import Predictor

_DONE = b"[DONE]"
_LISTED = 404
"""Status of servers without a list of models."""
_CALLERS_FAULT = (400, 413, 422)
_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@register("predictor", "openai")
class OpenAIModel(RemoteRuntime):
    """Asks the language model ``model`` of the server at ``url``, which speaks OpenAI's API.

    ============== ============================== ================================================
    task           input                          outputs
    ============== ============================== ================================================
    chat           the messages, as a list in     ``text``, ``finish_reason``, ``tool_calls``
                   JSON: BYTES [1]                (JSON, or empty), ``prompt_tokens`` and
                                                  ``completion_tokens``, each of one element
    completions    the prompt: BYTES [1]          the same
    embeddings     the texts: BYTES [rows]        ``output``: FP32 [rows, dimensions]
    ============== ============================== ================================================

    The node streams: it yields the outputs of each chunk as it comes, in which ``tool_calls`` has
    parts of the calls; where one answer is asked for, the chunks are joined. Request parameters
    that have the name of a field of the API, such as ``temperature``, ``max_tokens``, ``stop`` or
    ``tools``, go to the server in place of the node's ``options``; lists and maps are JSON text.

    A server that is away or overloaded makes the node fail with Unavailable; a request that it
    refuses is the caller's mistake.

    Args:
        url: Address below which the endpoints lie, such as https://api.openai.com/v1.
        model: Name of the model there.
        task: Endpoint that is asked: chat, completions or embeddings.
        key: Variable with the key of the API, one of the node's ``secrets``; none is sent if left
            out.
        options: Fields of each request, such as ``{temperature: 0}``.
        stream: Whether the server is asked for chunks; if not, the node gives one answer.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str,
        task: TaskName = "chat",
        key: str | None = None,
        options: dict[str, Any] | None = None,
        stream: bool = True,
    ) -> None:
        self._model, self._task, self._options = model, task, options or {}
        self._path = ENDPOINTS[task].path
        super().__init__(remote_model(url, model, _said))
        self._headers = {"content-type": "application/json"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {_secret(key)}"
        # What a node is shows in its method: an async generator streams.
        self.predict: Any = self._whole
        if task == "embeddings":
            self.predict = self._embed
        elif stream:
            self.predict = self._stream

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the outputs of the task."""
        return vector_types(inputs) if args.get("task") == "embeddings" else output_types()

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find a model or method, several inputs, a key in no secret, and a URL of no server."""
        yield from address_mistakes(node, "url: …, model: …")
        yield from no_method(node)
        if len(node.inputs) != 1:
            yield ("inputs",), "the runtime 'openai' takes one input"
        key = node.args.get("key")
        if key is not None and key not in node.secrets:
            message = f"{shown(key)} is none of the node's secrets{hint(str(key), node.secrets)}"
            yield ("args", "key"), message
        options = cast("dict[str, Any]", node.args.get("options") or {})
        for name in ("stream", "n", ENDPOINTS[cast(TaskName, node.args.get("task", "chat"))].field):
            if name in options:
                yield ("args", "options", name), "the node sets this field itself; remove it"

    async def load(self) -> None:
        """Check that the server takes the key and has the model, where it lists models."""
        with loading():
            try:
                models = await self._server.get("/models", self._headers)
            except RemoteError as error:
                if error.status == _LISTED:
                    return
                raise
        names = _names(models)
        if names and self._model not in names:
            raise CannotLoad(f"the server has no model {self._model!r}{hint(self._model, names)}")

    @staticmethod
    def join(results: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """Return the outputs of a whole answer, given those of all its chunks."""
        return joined(results)

    async def _stream(
        self, /, *, context: Context, **inputs: Array
    ) -> AsyncGenerator[dict[str, Array], None]:
        body = orjson.dumps({**self._body(inputs, context), **_USAGE})
        pieces = self._server.stream(self._path, body, self._headers, context)
        with _blamed():
            async with aclosing(pieces), aclosing(events(pieces)) as found:
                async for data in found:
                    if data.strip() == _DONE:
                        return
                    yield chunk(self._read(data))
        raise BadAnswer(f"{self._server} ended its stream before [DONE]")

    async def _whole(self, /, *, context: Context, **inputs: Array) -> dict[str, Array]:
        return whole(await self._asked(inputs, context))

    async def _embed(self, /, *, context: Context, **inputs: Array) -> Array:
        (array,) = inputs.values()
        return embeddings(await self._asked(inputs, context), array.size)

    async def _asked(self, inputs: Mapping[str, Array], context: Context) -> Any:
        body = orjson.dumps(self._body(inputs, context))
        with _blamed():
            _, answer = await self._server.post(self._path, body, self._headers, context)
        return self._read(answer)

    def _body(self, inputs: Mapping[str, Array], context: Context) -> dict[str, Any]:
        (array,) = inputs.values()
        return body_of(self._task, self._model, array, self._options, context.parameters)

    def _read(self, data: bytes) -> Any:
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise BadAnswer(f"{self._server} sent what is no JSON") from None
        if isinstance(found, dict) and found.get("error"):
            raise RemoteError(f"{self._server} failed{_said(data)}")
        return found


@contextmanager
def _blamed() -> Iterator[None]:
    """Raise InvalidRequest where the server says that the request is wrong."""
    try:
        yield
    except RemoteError as error:
        if error.status in _CALLERS_FAULT:
            raise InvalidRequest(str(error)) from None
        raise


def _secret(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise CannotLoad(f"the variable {variable} of the node's secrets is empty")
    if not value.isascii() or not value.isprintable():
        raise CannotLoad(f"the variable {variable} holds characters that no header can carry")
    return value


def _names(models: Any) -> list[str]:
    try:
        return [str(one["id"]) for one in models["data"]]
    except (KeyError, TypeError):
        return []


def _said(body: bytes) -> str:
    """Return the text of an error as OpenAI's API has it, cut to one line."""
    try:
        error = orjson.loads(body)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        return ""
    return said_line(text)
