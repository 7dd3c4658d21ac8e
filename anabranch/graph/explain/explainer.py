"""One explainer, loaded with the model that it explains: from a request to an explanation.

Explanations run in threads, at most ``max_concurrency`` of the component at a time and one unless
it says otherwise; a bounded number waits. One that nobody waits for any more is interrupted, and
what it has asked the model is cancelled.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson

from anabranch.components.annotations import Annotations
from anabranch.components.binding import bind
from anabranch.components.contract import DEFAULT_OUTPUT, Bound, CannotLoad, Context
from anabranch.components.raised import pass_interrupt, text_of
from anabranch.errors import DeadlineExceeded, LoadError, NodeError, Unavailable
from anabranch.explainers.explanation import Explanation
from anabranch.graph.calls.lanes import Lane, Lanes
from anabranch.graph.calls.stepping import in_task
from anabranch.graph.calls.values import ValueForm, accessor, form_of
from anabranch.graph.compile.explainers import ExplainedPart, explained_part
from anabranch.graph.execute.executor import HeadExecutor, SegmentCall
from anabranch.graph.execute.nodes import load_nodes, run_hook, unload_nodes
from anabranch.graph.explain.answers import Answers, ExplainerReply, key_of
from anabranch.graph.explain.model import Array, AskedModel, Asking, Values
from anabranch.graph.plan.plan import Plan, PlannedNode, Ref
from anabranch.graph.plan.vertices import vertex_of
from anabranch.specs.models import Explainer, Predictor
from anabranch.telemetry.logs import NODE, REQUESTS

MAX_QUEUE = 16
"""Explanations that may wait where ``scaling.max_queue`` does not say."""
Calls = Callable[[str], SegmentCall]
"""How a segment is called."""


class Threaded(Bound):
    """A component whose hooks run in a thread, for they may call the model and wait."""

    async def _hook(self, name: str, in_thread: bool = True) -> None:
        await super()._hook(name, in_thread=True)


class ThreadLane(Lane):
    """Calls a component in threads only: on the loop, one that waits would wait for itself."""

    @property
    def _is_here(self) -> bool:
        return False

    def _learn(self, seconds: float) -> None:
        pass


class Explaining:
    """An explainer and its model, on the loop that it was loaded on."""

    def __init__(
        self, where: ExplainedPart, bound: Mapping[str, Bound], executor: HeadExecutor, asks: Asks
    ) -> None:
        name = where.node.name
        self.bound = bound
        """Components that are loaded here, by node: copies of nodes, and the explainer itself."""
        self._node = where.node
        self._asks = asks
        self._own = bound[name]
        self._executor = executor
        self._lanes = Lanes()
        self._lane = ThreadLane(replace(self._own, is_async=False), self._lanes)
        self._inside: set[Asking] = set()
        self._answers = Answers()
        self._reads_request = _reads_request(where, bound)
        self._timeout = where.plan.signature.explainers[name].timeout
        scaling = where.node.spec.scaling
        asked = None if scaling is None else scaling.max_queue
        self._queue = MAX_QUEUE if asked is None else asked

    @classmethod
    async def load(cls, plan: Plan, name: str, root: Path, calls: Calls) -> Self:
        """Load an explainer of a plan, and of its model what is not called.

        Raises LoadError or ArtefactError, each naming the node.
        """
        where = explained_part(plan, name)
        copies = await load_nodes(where.plan, where.copied, root)
        bound = dict(copies)
        try:
            reached = {segment: calls(segment) for segment in where.called}
            executor = HeadExecutor(where.plan, copies, reached)
            asks = Asks(where, executor, reached)
            bound[name] = own = _bound(where, root)
            asks.attach(own.instance, copies)
            await _load(own, root)
        except BaseException:
            await unload_nodes(bound, root)
            raise
        return cls(where, bound, executor, asks)

    async def explain(
        self, inputs: Mapping[str, Array], context: Context, sampled: bool = False
    ) -> ExplainerReply:
        """Explain the rows of one request, given the graph's inputs.

        What was ``sampled`` of the traffic has nobody who waits for it, and leaves half of the
        queue to requests that somebody does wait for.

        Raises InvalidRequest, NodeError, DeadlineExceeded, and Unavailable where too many wait.
        """
        await in_task()
        started = time.perf_counter()
        key = key_of(inputs, context, self._reads_request)
        found = self._answers.get(key)
        if found is not None:
            seconds = time.perf_counter() - started
            return replace(found, seconds=seconds, model_calls=0, model_rows=0, cached=True)
        found = await self._within(inputs, context, started, sampled)
        self._answers.put(key, found)
        return found

    @property
    def stuck(self) -> str | None:
        """Why this process should be replaced, naming nodes; None where all is well."""
        return self._lanes.stuck() or self._executor.stuck

    def close(self) -> None:
        """Let the threads go."""
        self._lanes.close()
        self._executor.close()

    async def _within(
        self, inputs: Values, context: Context, started: float, sampled: bool
    ) -> ExplainerReply:
        """Explain in a thread, within the explainer's time and the request's."""
        left = context.remaining()
        seconds = self._timeout if left is None else min(self._timeout, left)
        deadline = time.monotonic() + seconds
        context = replace(
            context, deadline=deadline, path={}, is_traffic=False, annotations=Annotations()
        )
        asking = Asking(context)
        self._enter(asking, sampled)
        REQUESTS.set((context,))
        try:
            async with asyncio.timeout(seconds) as limit:
                values = await self._asks.prepared(inputs, context)
                NODE.set(self._node.name)
                data = await self._lane.call(partial(self._run, asking, values))
        except TimeoutError:
            if not limit.expired():
                raise
            name = self._node.name
            raise DeadlineExceeded(
                f"explainer {name!r} did not answer within {seconds:g}s"
            ) from None
        finally:
            self._inside.discard(asking)
            asking.end()
        took = time.perf_counter() - started
        return ExplainerReply(self._method, data, took, asking.calls, asking.rows)

    def _enter(self, asking: Asking, sampled: bool) -> None:
        """Take a place; those whose thread goes on though nobody waits keep theirs."""
        given_up = sum(call.given_up is not None for call in self._lane.calls)
        waiting = self._queue // 2 if sampled else self._queue
        if len(self._inside) + given_up >= self._lane.places + waiting:
            raise Unavailable(
                f"explainer {self._node.name!r} has its queue full: {self._lane.places} in "
                f"progress and {waiting} that wait are the most; try again later"
            )
        self._inside.add(asking)

    def _run(self, asking: Asking, values: Mapping[str, Any]) -> bytes:
        """In a thread: from the explainer's inputs to an explanation in JSON."""
        with self._asks.asked(asking):
            if self._own.wants_context:
                values = {**values, "context": asking.context}
            result = self._own.call(**values)
            if inspect.iscoroutine(result):
                result = asyncio.run(result)
        return _encoded(self._node.name, self._documents(result, asking.context))

    @property
    def _method(self) -> str:
        spec = self._node.spec
        assert isinstance(spec, Explainer)
        return spec.component or str(spec.method)

    def _documents(self, result: Any, context: Context) -> list[Any]:
        found = result if isinstance(result, list | tuple) else [result]
        if found and all(isinstance(one, Explanation) for one in found):
            return [one.to_json() for one in found]
        seed = context.parameters.get("seed", getattr(self._node.spec, "seed", 0))
        return [{"method": self._method, "seed": seed, "library": result}]


class Asks:
    """The model of one explainer: how its inputs come about, and how it is asked."""

    def __init__(
        self, where: ExplainedPart, executor: HeadExecutor, calls: Mapping[str, SegmentCall]
    ) -> None:
        self._where = where
        self._plan = where.plan
        self._executor = executor
        self._call = None if where.remote is None else calls[where.remote]

    def attach(self, explainer: Any, copies: Mapping[str, Bound]) -> None:
        """Make the model, and give it to an explainer that wants it."""
        where = self._where
        copy = None if where.target is None else copies.get(where.target.name)
        instance = None if copy is None else copy.instance
        inputs = {key: self._plan.type_of(ref) for key, ref in where.takes.items()}
        types = self._plan.output_types if where.target is None else where.target.outputs
        self._model = AskedModel(where, self._evaluate, instance, inputs, types)
        attach = getattr(explainer, "attach", None)
        if not callable(attach):
            return
        name = where.node.name
        try:
            attach(self._model)
        except CannotLoad as error:
            raise LoadError(name, text_of(error)) from None
        except BaseException as error:
            pass_interrupt(error)
            text = f"attach() raised {type(error).__name__}: {text_of(error)}"
            raise LoadError(name, text) from None

    def asked(self, asking: Asking) -> Any:
        """Within, calls to the model from this thread belong to an explanation."""
        return self._model.asked(asking)

    async def prepared(self, inputs: Values, context: Context) -> dict[str, Any]:
        """Return the explainer's inputs, given the graph's inputs."""
        return await self._taken(self._where.node.inputs, inputs, context)

    async def _taken(
        self, refs: Mapping[str, Ref], given: Values, context: Context
    ) -> dict[str, Any]:
        """Return the values that some references name, given the graph's inputs."""
        wants = tuple(dict.fromkeys(vertex_of(ref) for ref in refs.values()))
        values = await self._executor.values(_written(given), wants, context)
        found = dict(zip(wants, values, strict=True))
        return {key: self._access(ref, found[vertex_of(ref)]) for key, ref in refs.items()}

    def _access(self, ref: Ref, value: Any) -> Any:
        return value if ref.node is None else accessor(self._plan.nodes[ref.node], ref)(value)

    async def _evaluate(self, values: Values, context: Context) -> Values:
        """The model's outputs for some rows."""
        where, target = self._where, self._where.target
        if target is None:
            return await self._taken(self._plan.outputs, values, context)
        values = _written(values)
        given = self._given(target, values) if where.is_alone else values
        if self._call is not None:
            value = (await self._call(given, (target.name,), context))[target.name]
        else:
            (value,) = await self._executor.values(given, (target.name,), context)
        return _outputs(target, value)

    def _given(self, target: PlannedNode, values: Values) -> dict[str, Any]:
        """The values of the vertices that a node reads, such that it receives ``values``."""
        given: dict[str, Any] = {}
        for key, array in values.items():
            ref = target.inputs[key]
            if ref.node is None or not self._is_named(ref):
                given[vertex_of(ref)] = array
            else:
                given.setdefault(ref.node, {})[str(ref.output)] = array
        return given

    def _is_named(self, ref: Ref) -> bool:
        """Return whether a node's value is kept as a dict."""
        form = form_of(self._plan.nodes[str(ref.node)])
        return form is ValueForm.MULTI or (form is ValueForm.OPEN and ref.output is not None)


def _written(values: Values) -> dict[str, Any]:
    """Copies: a component may work in place, and explainers use their arrays again."""
    return {key: array.copy() for key, array in values.items()}


def _outputs(node: PlannedNode, value: Any) -> Values:
    if isinstance(value, dict):
        return value
    return {next(iter(node.outputs)) if node.outputs else DEFAULT_OUTPUT: value}


def _bound(where: ExplainedPart, root: Path) -> Threaded:
    """The explainer, with the inputs that it receives."""
    spec = where.node.spec.model_copy(
        update={"inputs": {key: str(ref) for key, ref in where.node.inputs.items()}}
    )
    own = bind(where.node.name, spec, root)
    return Threaded(own.node, own.instance, own.call, own.is_async, own.wants_context)


async def _load(own: Bound, root: Path) -> None:
    """Load the explainer itself; a model that fails it then is named beside it."""
    try:
        await run_hook("load", [own], root)
    except (NodeError, Unavailable, DeadlineExceeded) as error:
        raise LoadError(own.node, f"load() asked the model: {error}") from None


def _reads_request(where: ExplainedPart, bound: Mapping[str, Bound]) -> bool:
    """Return whether the explainer or its model may go by more of a request than its tensors."""
    if where.node.spec.component is not None and bound[where.node.name].wants_context:
        return True
    names = {*where.copied, *_inside(where.plan, where.called)}
    return any(_reads(where.plan.nodes[name], bound.get(name)) for name in names)


def _inside(plan: Plan, segments: Iterable[str]) -> Iterable[str]:
    return (name for segment in segments for name in plan.segment(segment).nodes)


def _reads(node: PlannedNode, bound: Bound | None) -> bool:
    if node.type == "router":
        return True
    if isinstance(node.spec, Predictor) and node.spec.multiplex is not None:
        return True
    return node.spec.component is not None and (bound is None or bound.wants_context)


def _encoded(name: str, documents: list[Any]) -> bytes:
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(documents, default=_plain, option=option)
    except (TypeError, RecursionError) as error:
        raise NodeError(name, f"it returned what JSON cannot carry: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(f"{type(value).__name__} is none of its types")
