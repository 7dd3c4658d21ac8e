"""A small server of OpenAI's API over real HTTP: it answers by what it is asked."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

KEY = "sk-test"
MODELS = ["echo", "other"]


class LanguageServer:
    """Repeats the last message or the prompt, word by word; ``fault`` answers in its place."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.fault: Any = None
        self.key = KEY
        self.closed = threading.Event()
        self.begun = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
            return
        while (kind := (await receive())["type"]) != "lifespan.shutdown":
            await send({"type": f"{kind}.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        self.headers.append(headers)
        path = scope["path"].removeprefix("/v1")
        asked = json.loads(body) if body else {}
        if headers.get("authorization") != f"Bearer {self.key}":
            await _json(send, 401, _error("Incorrect API key provided"))
        elif path == "/models":
            await _json(send, 200, {"object": "list", "data": [{"id": name} for name in MODELS]})
        else:
            self.asked.append(asked)
            await (self.fault or _answered(path, asked))(self, receive, send)


def _answered(path: str, asked: dict[str, Any]) -> Any:
    if path == "/embeddings":
        return answers(200, _embedded(asked))
    if asked.get("temperature", 0) > 2:
        return answers(400, _error("temperature must be at most 2"))
    if asked.get("stream"):
        return streams(*(json.dumps(one).encode() for one in chunks(path, asked)), b"[DONE]")
    return answers(200, completed(path, asked))


def words(path: str, asked: dict[str, Any]) -> list[str]:
    """The pieces of an answer."""
    text = asked["prompt"] if path == "/completions" else asked["messages"][-1]["content"]
    most = asked.get("max_tokens", 100)
    return [f"{word} " for word in text.split()][:most]


def usage(path: str, asked: dict[str, Any]) -> dict[str, int]:
    """As many tokens as pieces."""
    number = len(words(path, asked))
    return {"prompt_tokens": 7, "completion_tokens": number, "total_tokens": number + 7}


def call(asked: dict[str, Any]) -> dict[str, Any] | None:
    """The call of the first tool, if there are tools."""
    tools = asked.get("tools")
    if not tools:
        return None
    function = {"name": tools[0]["function"]["name"], "arguments": '{"city": "Bärn"}'}
    return {"id": "call_1", "type": "function", "function": function}


def completed(path: str, asked: dict[str, Any]) -> dict[str, Any]:
    """A whole answer."""
    text, called = "".join(words(path, asked)), call(asked)
    choice: dict[str, Any] = {"index": 0, "finish_reason": "tool_calls" if called else "stop"}
    if path == "/completions":
        choice["text"] = text
    else:
        choice["message"] = {"role": "assistant", "content": None if called else text}
        if called:
            choice["message"]["tool_calls"] = [called]
    return {
        **_of(path, "completion"), "model": asked["model"], "choices": [choice],
        "usage": usage(path, asked),
    }  # fmt: skip


def chunks(path: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of an answer: the role, the pieces, the reason, and the usage if asked for."""
    found, called = [], call(asked)
    if path == "/completions":
        found += [{"text": word, "finish_reason": None} for word in words(path, asked)]
        found.append({"text": "", "finish_reason": "stop"})
    elif called:
        arguments = called["function"]["arguments"]
        first = {"index": 0, **called, "function": {**called["function"], "arguments": ""}}
        parts = [first, *({"index": 0, "function": {"arguments": one}} for one in arguments)]
        found += [{"delta": {"tool_calls": [one]}, "finish_reason": None} for one in parts]
        found.append({"delta": {}, "finish_reason": "tool_calls"})
    else:
        found.append({"delta": {"role": "assistant", "content": ""}, "finish_reason": None})
        pieces = words(path, asked)
        found += [{"delta": {"content": word}, "finish_reason": None} for word in pieces]
        found.append({"delta": {}, "finish_reason": "stop"})
    made = [
        {**_of(path, "chunk"), "model": asked["model"], "choices": [{"index": 0, **one}]}
        for one in found
    ]
    if (asked.get("stream_options") or {}).get("include_usage"):
        last = {**_of(path, "chunk"), "model": asked["model"], "choices": []}
        made.append({**last, "usage": usage(path, asked)})
    return made


def _of(path: str, what: str) -> dict[str, Any]:
    kind = "text_completion" if path == "/completions" else f"chat.completion.{what}"
    return {"id": "one", "object": kind.removesuffix(".completion"), "created": 1}


def _embedded(asked: dict[str, Any]) -> dict[str, Any]:
    texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    data = []
    for index, text in enumerate(texts):
        vector: Any = [float(len(text)), float(text.count("a"))]
        if asked.get("encoding_format") == "base64":
            vector = base64.b64encode(np.array(vector, "<f4").tobytes()).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "data": data[::-1], "model": asked["model"], "usage": usage}


def _error(text: str) -> dict[str, Any]:
    return {
        "error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}
    }


async def _json(send: Any, status: int, document: Any, headers: Any = ()) -> None:
    kind = [(b"content-type", b"application/json"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": kind})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


async def _send_events(send: Any, events: list[bytes]) -> None:
    """Send events, and end the answer."""
    head = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    for one in events:
        body = b"data: %s\n\n" % one
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def answers(status: int, document: Any, *headers: tuple[bytes, bytes]) -> Any:
    """A fault: an answer with this status."""

    async def fault(server: LanguageServer, receive: Any, send: Any) -> None:
        await _json(send, status, document, headers)

    return fault


def streams(*events: bytes) -> Any:
    """A fault: a stream of these events, without an end."""

    async def fault(server: LanguageServer, receive: Any, send: Any) -> None:
        await _send_events(send, list(events))

    return fault


async def hangs(server: LanguageServer, receive: Any, send: Any) -> None:
    """A fault: one chunk, and then nothing until the client goes."""
    head = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    piece = json.dumps(chunks("/chat/completions", server.asked[-1])[1]).encode()
    body = b": keep-alive\n\ndata: %s\n\n" % piece
    await send({"type": "http.response.body", "body": body, "more_body": True})
    server.begun.set()
    while (await receive())["type"] != "http.disconnect":
        pass
    server.closed.set()


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    """Pieces of a body."""
    for one in pieces:
        yield one
