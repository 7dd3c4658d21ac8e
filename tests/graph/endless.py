"""Runs requests without a bound on their time: a wait that nothing can end is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from selectors import DefaultSelector
from typing import Any

from anabranch.graph.execute.executor import Evaluator, HeadExecutor
from anabranch.graph.execute.loopback import LoopbackCall

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class EndlessWait(AssertionError):
    """A request waits, and neither a thread nor a timer is going to wake it."""


class _Selector(DefaultSelector):
    """Waits for the event loop; without a timer, only while a component is in a thread."""

    def __init__(self, evaluators: list[Evaluator]) -> None:
        super().__init__()
        self._lanes = [one._lanes for one in evaluators]

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None or any(lane.calls for one in self._lanes for lane in one._members):
            return super().select(timeout)
        if not (found := self._last_words()):
            raise EndlessWait
        return found

    def _last_words(self) -> Any:
        """What threads may still tell, whose calls are over."""
        for one in self._lanes:
            pool, one._pool = one._pool, None
            if pool is not None:
                pool.shutdown()
        return super().select(0)


@contextmanager
def running(executor: HeadExecutor) -> Iterator[Run]:
    """Give what runs requests of an executor, and of those that it calls by ``loopback``."""
    calls = executor._evaluator._steps._calls.values()
    segments = [call._executor for call in calls if isinstance(call, LoopbackCall)]
    evaluators = [one._evaluator for one in (executor, *segments)]
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(_Selector(evaluators))
    ) as runner:
        try:
            yield runner.run
        finally:
            for one in evaluators:
                one.close()
