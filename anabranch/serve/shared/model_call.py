"""Calls of a node to the shared model that it uses."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from anabranch.components.annotations import Annotations, Names, Tags
from anabranch.components.contract import Context, NodeFeedback
from anabranch.errors import (
    DeadlineExceeded,
    NodeError,
    RequestError,
    StatusError,
    Unavailable,
)
from anabranch.graph.calls.counts import Counts
from anabranch.graph.plan.plan import Plan
from anabranch.graph.shared.model_node import SharedModelNode
from anabranch.router.admission.bulkheads import Bulkhead, place_in
from anabranch.router.inference.contract import Array, InferenceRequest, InferenceResponse
from anabranch.router.inference.core import TIMEOUT
from anabranch.router.traffic.explaining import EXPLAIN
from anabranch.serve.shared.shared_model import MODELS, OpenModels, SharedModel
from anabranch.serve.shared.use import ModelUse


class SharedModelCall:
    """A ``SegmentCall`` to the shared model of a node; it must be started before its first use.

    ``counts`` are those of the user's revision.
    """

    def __init__(
        self, plan: Plan, node: str, counts: Counts | None, models: OpenModels = MODELS
    ) -> None:
        self._node = SharedModelNode(plan, node)
        self._reference = self._node.model
        self._hops = None if counts is None else counts.hop(node)
        self._use = ModelUse(self._reference.name, plan.name)
        self._models = models
        self._opened: SharedModel | None = None
        self.bulkhead: Bulkhead | None = None
        """Bounds the calls under way, where some requests do not need the model."""

    async def start(self) -> None:
        """Return once the model can be called; Unavailable where it, or the revision, is not up."""
        self._opened = await self._models.open(self._reference.name)
        self._model.head(self._reference.revision)

    async def close(self) -> None:
        """Make no further calls."""
        if self._opened is not None:
            self._opened = None
            await self._models.close(self._reference.name)

    @property
    def _model(self) -> SharedModel:
        assert self._opened is not None, "the call was not started"
        return self._opened

    @property
    def is_down(self) -> bool:
        """Whether calls would fail at once, since no replica is healthy."""
        try:
            return bool(self._model.head(self._reference.revision).obstacle())
        except Unavailable:
            return True

    async def __call__(
        self, values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> Mapping[str, Any]:
        """Evaluate the node, which is all of ``wants``; cancelling this cancels it there."""
        inputs = self._node.inputs(values)
        with place_in(self.bulkhead, context), self._named():
            if not context.is_traffic:
                head = self._model.head(self._reference.revision)
                found = await head.run(inputs, context, None)
                return {self._node.name: self._node.value(found.outputs)}
            return {self._node.name: await self._infer(self._request(inputs, context), context)}

    async def _infer(self, request: InferenceRequest, context: Context) -> Any:
        arm = self._model.choose(request, self._reference.revision)
        started = time.monotonic()
        with self._counted(arm.core.revision, started):
            response, value = await arm.infer(request, self._value)
        if self._hops is not None:
            self._hops.observe(time.monotonic() - started)
        self._annotate(request, response, context)
        return value

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand a reward to the model; another revision of it may take some where this does not."""
        if self._node.is_reached(given.path):
            await self._model.feedback(given, self._reference.revision)
        return True

    async def streaming(self) -> Mapping[str, bool]:
        """The node, if the model streams, and whether its results can be joined."""
        with self._named():
            joins = await self._model.head(self._reference.revision).joins()
        return {} if joins is None else {self._node.name: joins}

    async def stream(
        self, values: Mapping[str, Any], want: str, context: Context
    ) -> AsyncGenerator[Any, None]:
        """The values of a model that streams; closing the iterator cancels it there."""
        request = self._request(self._node.inputs(values), context)
        with place_in(self.bulkhead, context), self._named():
            arm = self._model.choose(request, self._reference.revision)
            with self._counted(arm.core.revision, time.monotonic()):
                async with aclosing(arm.stream(request)) as responses:
                    async for response in responses:
                        self._annotate(request, response, context)
                        yield self._value(response)

    def _request(self, inputs: Mapping[str, Array], context: Context) -> InferenceRequest:
        """Return a request for the model that has what is left of the time of the graph's."""
        parameters = {name: one for name, one in context.parameters.items() if name != EXPLAIN}
        remaining = context.remaining()
        if remaining is not None:
            parameters[TIMEOUT] = max(1, int(remaining * 1e6))
        return InferenceRequest(
            inputs, parameters=parameters, headers=context.headers, request_id=context.id,
            trace=context.trace, annotations=self._told(context),
        )  # fmt: skip

    def _told(self, context: Context) -> Annotations | None:
        """Return the tags of a request, and its names of columns by the model's inputs."""
        if not context.annotations:
            return None
        names = {name: context.names_of(source) for name, source in self._node.sources.items()}
        return Annotations(
            Tags(context.tags), Names({n: found for n, found in names.items() if found})
        )

    def _annotate(
        self, request: InferenceRequest, response: InferenceResponse, context: Context
    ) -> None:
        """Give the graph's request what the model has added to the annotations."""
        if response.annotations is None:
            return
        before = request.annotations or Annotations()
        added = response.annotations.since(before.tags, before.names)
        columns = next(filter(None, (added.names.get(one.name) for one in response.outputs)), None)
        names = Names() if columns is None else Names({self._node.name: columns})
        context.annotations.merge(Annotations(added.tags, names, added.measures))

    def _value(self, response: InferenceResponse) -> Any:
        return self._node.value({output.name: output.array for output in response.outputs})

    @contextmanager
    def _counted(self, revision: int, started: float) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._use.failed(revision, error)
            raise
        self._use.answered(revision, time.monotonic() - started)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let errors of the model name the node, and the model."""
        try:
            yield
        except StatusError as error:
            reason = f"{self._reference}: {error.reason}"
            raise StatusError(self._node.name, reason, error.status, error.body) from None
        except NodeError as error:
            if error.node == self._node.name:
                raise
            raise NodeError(self._node.name, f"{self._reference}: {error.reason}") from None
        except (Unavailable, DeadlineExceeded):
            raise
        except RequestError as error:
            raise NodeError(self._node.name, f"{self._reference}: {error}") from None
