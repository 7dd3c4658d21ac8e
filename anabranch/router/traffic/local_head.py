"""The head of a revision in this process; in a router, that of the revision it carries."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial

from anabranch.components.contract import Context, NodeFeedback
from anabranch.graph.calls.generators import each
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.router.inference.contract import Array, Evaluated, Verdict
from anabranch.router.traffic.agreement import compare
from anabranch.specs.models import Compare


class LocalHead:
    """A ``Head`` around the executor of a whole graph.

    ``obstacle`` says why an output cannot be computed, where segments are in other processes.
    """

    def __init__(self, executor: HeadExecutor, obstacle: Callable[[], str] = str) -> None:
        self._executor = executor
        self.obstacle = obstacle

    async def run(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
    ) -> Evaluated:
        """Evaluate the graph's outputs, or only those named, and take the time."""
        started = time.perf_counter()
        found = await self._executor.run(inputs, context, outputs)
        seconds = time.perf_counter() - started
        return Evaluated(found, seconds, context.path, context.annotations or None)

    def stream(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
    ) -> AsyncGenerator[Evaluated, None]:
        """Evaluate a graph that may stream; each result has the time since the start."""
        started = time.perf_counter()

        def evaluated(found: Mapping[str, Array]) -> Evaluated:
            seconds = time.perf_counter() - started
            return Evaluated(found, seconds, context.path, context.annotations or None)

        return each(partial(self._executor.stream, inputs, context, outputs), evaluated)

    async def only_streams(self) -> bool:
        """Return whether ``run`` refuses the graph, since a node of it streams."""
        return await self._executor.only_streams()

    @property
    def takes_feedback(self) -> bool:
        """Whether a component may take rewards."""
        return self._executor.feedback.is_any

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand a reward to the graph's components; return whether any takes some."""
        return await self._executor.feedback.give(given)

    async def compare(
        self,
        inputs: Mapping[str, Array],
        context: Context,
        outputs: Sequence[str] | None,
        expected: Mapping[str, Array],
        rule: Compare,
    ) -> Verdict:
        """Evaluate likewise, and compare with the outputs that are ``expected``."""
        found = await self.run(inputs, context, outputs)
        comparison = compare(expected, found.outputs, rule)
        return Verdict(comparison.agreed, comparison.close, found.seconds)

    def close(self) -> None:
        """Let the executor's threads go."""
        self._executor.close()
