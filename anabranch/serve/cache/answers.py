"""A cache of answers: looks for a question, has it answered once, and keeps the answer.

Who asks what is being looked for waits for that, each within its own time. A first asker that fails
or leaves says nothing about the question, so those who wait then ask for themselves, all at once,
as they would without a cache.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from anabranch.components.contract import Context
from anabranch.graph.calls import cache_status as status
from anabranch.graph.calls.stepping import in_task
from anabranch.graph.execute.cached import Evaluate
from anabranch.router.traffic.mirror import HEADER
from anabranch.serve.cache.counts import CacheCounts
from anabranch.serve.cache.store import AnswerStore, KeptAnswer
from anabranch.serve.cache.wire import Digest, decoded, digest, encoded
from anabranch.serve.streams.frames import MalformedFrame
from anabranch.serve.streams.messages import TooLargeToCross
from anabranch.serve.streams.values import CannotCross

logger = logging.getLogger("anabranch.serve")
CONTROL = "cache-control"


class AnswerCache:
    """The cache of a node, or of a graph: its questions are answered within a ``namespace``.

    Answers of more than ``most`` bytes are not kept.
    """

    def __init__(
        self, node: str, namespace: str, store: AnswerStore, most: int, counts: CacheCounts
    ) -> None:
        self._node = node
        self._namespace = namespace
        self._store = store
        self._most = most
        self._counts = counts
        self._looked_for: dict[Digest, asyncio.Future[bytes | None]] = {}

    async def value(self, question: Any, context: Context, evaluate: Evaluate) -> Any:
        """Return the value that is kept for a question, or else the one that is made now."""
        fresh, keep = wishes(context.headers)
        if not context.is_traffic or (fresh and not keep):
            self._tell(context, status.BYPASS, "bypass")
            return (await evaluate()).value
        try:
            key = digest(self._namespace, question)
        except CannotCross:
            self._tell(context, status.MISS, "miss")
            return (await evaluate()).value
        if fresh:
            return await self._evaluated(key, context, evaluate, status.BYPASS, "bypass")
        first = self._looked_for.get(key)
        if first is None:
            return await self._found(key, context, evaluate)
        await in_task()
        data = await asyncio.shield(first)
        if data is not None:
            self._tell(context, status.COLLAPSED, "wait")
            return decoded(data)
        return await self._evaluated(key, context, evaluate, status.MISS, "miss")

    async def close(self) -> None:
        """Write what is left, for two seconds at most, and let the store go."""
        await self._store.close()

    async def _found(self, key: Digest, context: Context, evaluate: Evaluate) -> Any:
        """Look for the question, as the first asker."""
        first = self._looked_for[key] = asyncio.get_running_loop().create_future()
        try:
            kept = await self._store.get(key)
            if kept is not None and (value := self._read(kept)) is not None:
                first.set_result(kept.data)
                self._tell(context, status.hit(kept.seconds), "hit")
                return value[0]
            return await self._evaluated(key, context, evaluate, status.MISS, "miss", first)
        finally:
            del self._looked_for[key]
            if not first.done():
                first.set_result(None)

    def _read(self, kept: KeptAnswer) -> tuple[Any] | None:
        """Return a value that is kept; None for what cannot be read."""
        try:
            return (decoded(kept.data),)
        except (MalformedFrame, ValueError) as error:
            self._counts.failed()
            logger.warning("an answer in a cache cannot be read: %s", error)
            return None

    async def _evaluated(
        self,
        key: Digest,
        context: Context,
        evaluate: Evaluate,
        how: str,
        outcome: str,
        first: asyncio.Future[bytes | None] | None = None,
    ) -> Any:
        """Evaluate the question now, keep the answer, and give it to those who wait."""
        self._counts.asked(outcome)
        value, may_be_kept = await evaluate()
        data = self._packed(value) if may_be_kept else None
        if first is not None:
            first.set_result(data)
        is_stored = data is not None and self._store.put(key, data)
        context.annotations.caches[self._node] = status.stored(how) if is_stored else how
        return value

    def _packed(self, value: Any) -> bytes | None:
        try:
            return encoded(value, self._most)
        except (CannotCross, TooLargeToCross):
            return None

    def _tell(self, context: Context, how: str, outcome: str) -> None:
        if context.is_traffic:
            self._counts.asked(outcome)
            context.annotations.caches[self._node] = how


def wishes(headers: Mapping[str, str]) -> tuple[bool, bool]:
    """Return whether a request wants a fresh answer, and whether it may be kept (RFC 9111, 5.2.1).

    A copy for a mirror is there to be evaluated.
    """
    if HEADER in headers:
        return True, True
    control = headers.get(CONTROL)
    if control is None:
        return False, True
    directives = {one.strip().lower() for one in control.split(",")}
    keep = "no-store" not in directives
    return not keep or "no-cache" in directives, keep
