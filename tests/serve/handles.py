"""Serve's handles without Serve: they reach a replica in this process."""

from __future__ import annotations

import asyncio
from typing import Any


class Response:
    """What a Serve handle returns: awaited once, and it can be cancelled."""

    def __init__(self, call: Any) -> None:
        self.task = asyncio.ensure_future(call)
        self.cancelled = False

    def __await__(self) -> Any:
        return asyncio.shield(self.task).__await__()

    def cancel(self) -> None:
        self.cancelled = self.task.cancel()


class Handle:
    """Reaches a replica in this process."""

    def __init__(self, replica: Any) -> None:
        self._replica = replica
        self.responses: list[Response] = []
        self.called = asyncio.Event()
        self.shut = asyncio.Event()

    async def shutdown_async(self) -> None:
        self.shut.set()

    def options(self, stream: bool) -> Any:
        """A handle whose methods give result after result."""
        assert stream

        class Streaming:
            class stream:
                @staticmethod
                def remote(*args: Any) -> Any:
                    return self._replica.stream(*args)

        return Streaming

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._replica, name)

        class Method:
            @staticmethod
            def remote(*args: Any) -> Response:
                self.responses.append(Response(method(*args)))
                self.called.set()
                return self.responses[-1]

        return Method
