"""Answers from caches: of a single node, and of a whole graph.

A cache is asked where the value would be made, so all else goes on as without it: the retry policy
of a node is around its cache, and monitors look at values that come from a cache, too. What a
stand-in has a part in is never kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeAlias

from anabranch.components.annotations import Annotations, Names, Tags
from anabranch.components.contract import Bound, Context
from anabranch.errors import LoadError
from anabranch.graph.batch.batching import PRIORITY
from anabranch.graph.calls.annotated import annotator, taken
from anabranch.graph.calls.values import UNSET, Convert
from anabranch.graph.execute.invoke import Parameter
from anabranch.graph.execute.policy import RecoveryPolicy
from anabranch.graph.execute.run import Frame, Run
from anabranch.graph.execute.steps import NodeStep
from anabranch.graph.plan.plan import Plan

UNSEEN = frozenset(("timeout", "binary_data_output", "explain", PRIORITY))
"""Request parameters that change nothing about the outputs."""


class MadeValue(NamedTuple):
    """A value as it was made, and whether it may be kept."""

    value: Any
    may_be_kept: bool = True


Evaluate: TypeAlias = Callable[[], Awaitable[MadeValue]]


class ValueCache(Protocol):
    """Keeps values by questions, which are plain data and arrays, as they cross processes."""

    async def value(self, question: Any, context: Context, evaluate: Evaluate) -> Any:
        """Return the value that is kept for a question, or else the one that is made now.

        It is told in ``context.annotations.caches``. The value is the caller's own.
        """


Caches: TypeAlias = Mapping[str, ValueCache]
"""The caches of a process by node; that of the graph by ``cache_status.GRAPH``."""
NO_CACHES: Caches = {}


def check_caches(plan: Plan, bound: Mapping[str, Bound]) -> None:
    """Raise LoadError, naming the node, if what is to be kept streams."""
    for name, each in bound.items():
        owner = "it" if plan.nodes[name].spec.cache is not None else "the graph"
        if each.is_stream and (owner == "it" or plan.cache is not None):
            raise LoadError(
                name, f"it streams, and {owner} has a `cache`, which keeps whole answers"
            )


def parameters_of(context: Context) -> dict[str, Any]:
    """Return the request parameters that outputs may depend on, in order of their names."""
    found = context.parameters
    return {name: found[name] for name in sorted(found.keys() - UNSEEN)} if found else {}


def _told(context: Context) -> list[Any]:
    """What a component that takes the context may go by, beside its inputs."""
    tags, names = dict(context.tags), dict(context.names)
    return [parameters_of(context), tags, names] if tags or names else [parameters_of(context)]


@dataclass(slots=True)
class CachedNode:
    """The cache of a node, and what its questions consist of."""

    cache: ValueCache
    parameters: Sequence[Parameter]
    sees_request: bool
    """Whether the component takes the context."""
    shape: Convert
    """Makes a kept value the node's own, such as read-only where several read it."""

    async def value(self, step: NodeStep, run: Run) -> Any:
        """Return the value of the node for a request whose inputs are there."""
        frame, context = run.frame, run.context
        question = [{key: convert(frame[slot]) for key, slot, convert in self.parameters}]
        if self.sees_request:
            question += _told(context)
        own = Annotations(Tags(context.tags), Names(context.names))
        made: list[Any] = []
        found = await self.cache.value(question, context, lambda: self._made(made, step, run, own))
        if not made:
            return self.shape(taken(found, context))
        context.annotations.join(own)
        return made[0]

    async def _made(self, made: list[Any], step: NodeStep, run: Run, own: Annotations) -> MadeValue:
        """Have the component work, with annotations of this node alone."""
        within = replace(run.context, annotations=own)
        annotate = annotator(within, is_kept=True)
        made.append(await step.later(run.within(within)))
        return MadeValue(annotate(made[0]))


class CachedStep:
    """The step of a node with a cache; ``step`` is that of the node without it."""

    is_quick = False

    def __init__(
        self,
        step: NodeStep,
        cached: CachedNode,
        needs: Sequence[int],
        policy: RecoveryPolicy | None,
    ) -> None:
        self.slot = step.slot
        self.leaves = step.leaves
        self._step = step
        self._cached = cached
        self.needs = tuple(needs)
        self._policy = policy

    def done(self, frame: Frame) -> bool:
        """Return whether the node has run, or is running."""
        return frame[self.slot] is not UNSET

    def inline(self, frame: Frame, context: Context) -> None:
        """Never called: a process with a cache does not run inline."""
        raise AssertionError("a cache cannot be asked inline")

    def begin(self, run: Run) -> None:
        """Leave a task in the slot."""
        run.frame[self.slot] = run.spawn(self.later(run))

    async def later(self, run: Run) -> Any:
        """Return the value of the node once its inputs are there."""
        await run.settle(self.needs)
        if self._policy is None:
            return await self._cached.value(self._step, run)
        return await self._policy.apply(lambda: self._cached.value(self._step, run), run)


class Fills(Protocol):
    """The part of an evaluator that the cache of a graph needs."""

    def frame(self, given: Mapping[str, Any]) -> Frame:
        """A frame that holds the given values."""

    async def made(
        self, frame: Frame, given: Mapping[str, Any], wants: Sequence[str], context: Context
    ) -> None:
        """Evaluate ``wants``, and let monitors look."""

    def see(self, frame: Frame, given: Mapping[str, Any], context: Context) -> None:
        """Let monitors, and the log, look at the frame of a request."""

    @property
    def seen(self) -> Mapping[str, int]:
        """Vertices here that monitors watch, or that the log is to have, and their slots."""


class CachedGraph:
    """Evaluates outputs of a graph, or takes them from its cache.

    With them the values are kept that monitors watch here, those that the log is to have, whether
    it has them of this request or not, and the routes that were chosen.
    """

    def __init__(self, cache: ValueCache, evaluator: Fills, slots: Mapping[str, int]) -> None:
        self._cache = cache
        self._evaluator = evaluator
        self._slots = slots

    async def evaluate(
        self, given: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> list[Any]:
        """The values of ``wants``, in order, given the graph's inputs."""
        made: list[Frame] = []
        question = [list(wants), {name: given[name] for name in sorted(given)}, *_told(context)]
        found = await self._cache.value(
            question, context, lambda: self._made(made, given, wants, context)
        )
        frame = made[0] if made else self._kept(taken(found, context), given, context)
        return [frame[self._slots[name]] for name in wants]

    async def _made(
        self, made: list[Frame], given: Mapping[str, Any], wants: Sequence[str], context: Context
    ) -> MadeValue:
        annotate = annotator(context, is_kept=True)
        frame = self._evaluator.frame(given)
        await self._evaluator.made(frame, given, wants, context)
        made.append(frame)
        slots = {**{name: self._slots[name] for name in wants}, **self._evaluator.seen}
        values = {
            name: frame[slot]
            for name, slot in slots.items()
            if name not in given and frame[slot] is not UNSET
        }
        value = annotate([values, dict(context.path)])
        return MadeValue(value, not context.has_stand_in)

    def _kept(self, found: Any, given: Mapping[str, Any], context: Context) -> Frame:
        values, path = found
        frame = self._evaluator.frame({**given, **values})
        context.path.update(path)
        self._evaluator.see(frame, given, context)
        return frame
