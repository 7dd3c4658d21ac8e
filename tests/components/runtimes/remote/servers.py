"""A real server for the runtimes: it answers POST by a function, and keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.router.conftest import serving


@dataclass
class Seen:
    """The server's address, and what it was asked."""

    url: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def answering(
    answer: Callable[[str, Any], Any], status: int = 200, get: int = 200
) -> Iterator[Seen]:
    """Serve ``answer(path, body)`` as JSON, or as it is where it is bytes."""
    seen = Seen()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        posted = scope["method"] == "POST"
        said: Any = {}
        if posted:
            document = json.loads(body)
            seen.asked.append((scope["path"], document))
            seen.headers.append({key.decode(): value.decode() for key, value in scope["headers"]})
            said = answer(scope["path"], document)
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        code = status if posted else get
        await send({"type": "http.response.start", "status": code, "headers": []})
        await send({"type": "http.response.body", "body": data})

    with serving(app) as url:
        seen.url = url
        yield seen
