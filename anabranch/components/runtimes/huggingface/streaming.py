"""Generated text, piece by piece as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock
from typing import Any, TypeAlias

from anabranch.components.runtimes import THREADS
from anabranch.components.runtimes.huggingface.lengths import UNKNOWN, check_room, limit_of
from anabranch.components.runtimes.huggingface.loading import PipelineParts
from anabranch.components.runtimes.huggingface.sampling import GenerationWishes
from anabranch.components.runtimes.huggingface.tasks import MAX_NEW, MAX_NEW_TOKENS
from anabranch.components.runtimes.stops import StopScanner

_DRAWING = Lock()
"""Held while text is drawn at random: transformers draws from the one generator of the process."""


@dataclass(frozen=True)
class GenerationEnd:
    """The end of a text: its reason, ``stop`` or ``length``, and how many tokens there were."""

    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


Put: TypeAlias = Callable[[str | GenerationEnd | None], None]


class Streamer:
    """Generates in threads, each of which ends with the token in hand once nobody listens."""

    def __init__(self, parts: PipelineParts, options: Mapping[str, Any]) -> None:
        self._parts, self._options = parts, {MAX_NEW: MAX_NEW_TOKENS, **options}
        self._limit = limit_of(parts)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="anabranch-generate")

    def close(self) -> None:
        """Take no further texts."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def pieces(
        self, text: str, wishes: GenerationWishes, is_rendered: bool = False
    ) -> AsyncGenerator[str | GenerationEnd, None]:
        """Yield what follows ``text``, and then its end; never more tokens than the options allow.

        A text that ``is_rendered`` has its special tokens already. InvalidRequest for a text
        without tokens, or with all that the model takes. What has been generated but not been
        taken waits; the bound on tokens bounds that too.
        """
        loop, stop = asyncio.get_running_loop(), Event()
        arrived: asyncio.Queue[str | GenerationEnd | None] = asyncio.Queue()
        put = partial(_put, loop, arrived)
        work = self._threads.submit(self._generate, text, wishes, is_rendered, put, stop)
        work.add_done_callback(lambda done: put(None))
        try:
            while (piece := await arrived.get()) is not None:
                yield piece
            work.result()
        finally:
            stop.set()

    def _generate(
        self, text: str, wishes: GenerationWishes, is_rendered: bool, put: Put, stop: Event
    ) -> None:
        parts, scanner = self._parts, StopScanner(wishes.stops)
        tokens = parts.tokenizer(
            text, return_tensors="pt", add_special_tokens=not is_rendered, verbose=False
        ).to(parts.device)
        length = tokens["input_ids"].shape[1]
        bound = self._bound(length, wishes.most)

        def finalized(piece: str, stream_end: bool = False) -> None:
            if said := scanner.push(piece):
                put(said)

        streamer = parts.transformers.TextStreamer(
            parts.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        streamer.on_finalized_text = finalized

        def stopped(ids: Any, scores: Any, **more: Any) -> Any:
            over = stop.is_set() or scanner.stopped
            return parts.torch.full((len(ids),), over, device=ids.device)

        options = {**self._options, **wishes.options, MAX_NEW: bound}
        with parts.torch.inference_mode(), self._drawing(options, wishes.seed):
            found = parts.model.generate(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                streamer=streamer,
                stopping_criteria=parts.transformers.StoppingCriteriaList([stopped]),
                **options,
            )
        if rest := scanner.flush():
            put(rest)
        put(self._ended(found[0][length:].tolist(), length, bound, scanner.stopped))

    def _bound(self, length: int, most: int | None) -> int:
        """Return the most tokens that may follow so many; InvalidRequest if none may."""
        check_room(length, self._limit)
        bound: int = min(self._options[MAX_NEW], most or UNKNOWN)
        return bound if self._limit is None else min(bound, self._limit - length)

    def _ended(
        self, tokens: list[int], length: int, bound: int, was_stopped: bool
    ) -> GenerationEnd:
        ends = self._parts.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        is_whole = was_stopped or len(tokens) < bound or tokens[-1] in ends
        return GenerationEnd("stop" if is_whole else "length", length, len(tokens))

    @contextmanager
    def _drawing(self, options: Mapping[str, Any], seed: int | None) -> Iterator[None]:
        """Draw text at random from a seed, if there is one, while no other text is drawn."""
        torch, usual = self._parts.torch, self._parts.model.generation_config.do_sample
        if not options.get("do_sample", usual):
            yield
            return
        cuda = [torch.cuda.current_device()] if self._parts.device != "cpu" else []
        with _DRAWING:
            if seed is None:
                yield
                return
            with torch.random.fork_rng(devices=cuda):
                torch.manual_seed(seed)
                yield


def _put(
    loop: asyncio.AbstractEventLoop,
    arrived: asyncio.Queue[str | GenerationEnd | None],
    piece: str | GenerationEnd | None,
) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(arrived.put_nowait, piece)
