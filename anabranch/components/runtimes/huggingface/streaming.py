"""Generated text, piece by piece as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Any

from anabranch.components.runtimes import THREADS
from anabranch.components.runtimes.huggingface.lengths import UNKNOWN, check_lengths, limit_of
from anabranch.components.runtimes.huggingface.loading import PipelineParts
from anabranch.components.runtimes.huggingface.tasks import MAX_NEW, MAX_NEW_TOKENS


class Streamer:
    """Generates in threads, each of which ends with the token in hand once nobody listens."""

    def __init__(self, parts: PipelineParts, options: Mapping[str, Any]) -> None:
        self._parts, self._options = parts, {MAX_NEW: MAX_NEW_TOKENS, **options}
        self._limit = limit_of(parts)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="anabranch-generate")

    def close(self) -> None:
        """Take no further texts."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def pieces(self, text: str, most: int | None) -> AsyncGenerator[str, None]:
        """Yield what follows ``text``; at most ``most`` tokens, and never more than the options.

        InvalidRequest for a text without tokens, or with all that the model takes. What has been
        generated but not been taken waits; the bound on tokens bounds that too.
        """
        loop, stop = asyncio.get_running_loop(), Event()
        arrived: asyncio.Queue[str | None] = asyncio.Queue()
        put = partial(_put, loop, arrived)
        work = self._threads.submit(self._generate, text, most, put, stop)
        work.add_done_callback(lambda done: put(None))
        try:
            while (piece := await arrived.get()) is not None:
                yield piece
            work.result()
        finally:
            stop.set()

    def _generate(
        self, text: str, most: int | None, put: Callable[[str | None], None], stop: Event
    ) -> None:
        parts, bound = self._parts, min(self._options[MAX_NEW], most or UNKNOWN)
        (length,) = check_lengths(parts, [text], room=1)
        bound = bound if self._limit is None else min(bound, self._limit - length)
        streamer = parts.transformers.TextStreamer(
            parts.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        streamer.on_finalized_text = lambda piece, stream_end=False: put(piece) if piece else None

        def stopped(ids: Any, scores: Any, **more: Any) -> Any:
            return parts.torch.full((len(ids),), stop.is_set(), device=ids.device)

        options = {**self._options, MAX_NEW: bound}
        tokens = parts.tokenizer(text, return_tensors="pt").to(parts.device)
        with parts.torch.inference_mode():
            parts.model.generate(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                streamer=streamer,
                stopping_criteria=parts.transformers.StoppingCriteriaList([stopped]),
                **options,
            )


def _put(
    loop: asyncio.AbstractEventLoop, arrived: asyncio.Queue[str | None], piece: str | None
) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(arrived.put_nowait, piece)
