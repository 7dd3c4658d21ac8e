"""Answers OpenAI's API for one graph."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from functools import partial
from typing import Any, TypeVar

from anabranch.errors import InvalidRequest
from anabranch.router.errors import HttpReply
from anabranch.router.http.app import Answer, CancelOnDisconnect, json_reply
from anabranch.router.http.doors.calls import GraphCalls, told_of_call
from anabranch.router.http.doors.contract import VERSION, Methods
from anabranch.router.http.doors.openai import openapi
from anabranch.router.http.doors.openai.choices import TextChoice
from anabranch.router.http.doors.openai.embeddings import document, vectors_of
from anabranch.router.http.doors.openai.errors import openai_error
from anabranch.router.http.doors.openai.evaluating import Place, responses, texts
from anabranch.router.http.doors.openai.fields import BodyFields, asks_for_stream
from anabranch.router.http.doors.openai.inputs import (
    Decode,
    Embedding,
    Generation,
    decode_call,
    decode_chat,
    decode_completion,
    decode_embedding,
)
from anabranch.router.http.doors.openai.models import list_document, model_document
from anabranch.router.http.doors.openai.pieces import Piece
from anabranch.router.http.doors.openai.replies import ChatReplies, Replies, chunks
from anabranch.router.http.doors.places import openai_base
from anabranch.router.http.request import HttpRequest
from anabranch.router.inference.contract import ModelMetadata
from anabranch.router.limits import LARGE
from anabranch.router.oip.helper_process import by_size
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.oip.tensor_header import memory_of_arrays
from anabranch.router.traffic.feedback import Feedback
from anabranch.specs.models import ProtocolName

T = TypeVar("T", Generation, Embedding)


class OpenAiDoor:
    """Chat, completions and embeddings, at ``/v1`` and at ``/openai/<graph>[/versions/<N>]/v1``."""

    protocol: ProtocolName = "openai"

    def __init__(self, calls: GraphCalls, feedback: Feedback | None) -> None:
        self._calls = calls
        self._name = calls.arms.name

    @property
    def paths(self) -> Mapping[str, Methods]:
        """Methods by whole path; below the graph's own base, ``model`` may be left out.

        There also is a base for each revision.
        """
        base, model = openai_base(self._name), f"/v1/models/{self._name}"
        return {
            **self._endpoints("/v1", must_name=True),
            **self._endpoints(f"{base}/v1", must_name=False),
            **self._endpoints(f"{base}{VERSION}/v1", must_name=False),
            f"{base}/v1/models": {"GET": ("describe", self._models)},
            f"{base}{model}": {"GET": ("describe", self._model)},
            model: {"GET": ("describe", self._model)},
        }

    @property
    def words(self) -> Mapping[str, Methods]:
        """None: the API has no paths below a model."""
        return {}

    def openapi(self, metadata: ModelMetadata) -> Mapping[str, Any]:
        """Return the paths of this protocol for the graph of the metadata."""
        return openapi.paths(metadata)

    def _endpoints(self, base: str, must_name: bool) -> dict[str, Methods]:
        chat = partial(self._generate, decode_chat, ChatReplies, must_name)
        completions = partial(self._generate, decode_completion, Replies, must_name)
        embeddings = partial(self._embed, must_name)
        return {
            f"{base}/chat/completions": {"POST": ("call", chat)},
            f"{base}/completions": {"POST": ("call", completions)},
            f"{base}/embeddings": {"POST": ("call", embeddings)},
        }

    async def _models(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return json_reply(list_document([self._document()]))

    async def _model(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return json_reply(self._document())

    def _document(self) -> dict[str, Any]:
        return model_document(self._name, self._calls.arms.routing.created)

    async def _generate(
        self,
        decode: Decode,
        replies: type[Replies],
        must_name: bool,
        revision: str | None,
        request: HttpRequest,
    ) -> Answer:
        arms = self._calls.arms
        body = await self._calls.body(request)
        streams = await by_size(body, asks_for_stream)
        with ExitStack() as held:
            held.enter_context(arms.gate.place(body, request.caller, streams))
            asked = await self._decoded(request, body, decode, must_name, revision)
            chosen = arms.choose(asked.requests[0], revision)
            count = len(asked.requests) * asked.each
            choices = [TextChoice(kept=not streams) for _ in range(count)]
            found = texts(chosen, asked, not streams, self._place(request))
            reply = replies(request.id, self._name, chosen.core.version)
            if streams:
                documents = chunks(found, reply, choices, asked.prompts, asked.includes_usage)
                return await self._calls.events(request, documents, held, openai_error)
            async with CancelOnDisconnect(request.receive), aclosing(found):
                await _gathered(found, choices, arms.limits.max_output)
            answer = HttpReply(200, reply.whole(choices, asked.prompts))
        return self._calls.counted(answer, request)

    async def _embed(
        self, must_name: bool, revision: str | None, request: HttpRequest
    ) -> HttpReply:
        arms = self._calls.arms
        body = await self._calls.body(request)
        with arms.gate.place(body, request.caller):
            asked = await self._decoded(request, body, decode_embedding, must_name, revision)
            chosen = arms.choose(asked.requests[0], revision)
            async with CancelOnDisconnect(request.receive):
                found = await responses(chosen, asked.requests, vectors_of, self._place(request))
            answer = HttpReply(200, document(found, asked, self._name))
        return self._calls.counted(answer, request)

    def _place(self, request: HttpRequest) -> Place:
        return lambda: self._calls.arms.gate.place(b"", request.caller, True)

    async def _decoded(
        self,
        request: HttpRequest,
        body: Buffer,
        decode: Callable[[BodyFields, ModelMetadata, Any], T],
        must_name: bool,
        revision: str | None,
    ) -> T:
        """Decode a body, a large one off the event loop, and count what it becomes."""
        arms, metadata = self._calls.arms, self._calls.arms.metadata(revision)
        found: T = await by_size(body, decode_call, decode, must_name, metadata, arms.limits)
        if len(body) > LARGE:
            arrays = [one for asked in found.requests for one in asked.inputs.values()]
            request.hold(memory_of_arrays(arrays), arms.under_way)
        for one in found.requests:
            told_of_call(one, request)
        return found


async def _gathered(
    pieces: AsyncGenerator[tuple[int, Piece], None], choices: Sequence[TextChoice], most: int
) -> None:
    """Put pieces into their choices; InvalidRequest where they are too much for one answer."""
    size = 0
    async for index, piece in pieces:
        choices[index].add(piece)
        size += piece.size
        if size > most:
            raise InvalidRequest(f"the answer is over {most} characters; ask for a stream")
