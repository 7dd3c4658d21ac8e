"""Heads in processes of their own: every revision but the one that a router carries.

``HeadReplica`` is the deployment ``head`` of the application ``<graph>.r<N>.head`` and evaluates
the whole graph of its revision; ``RemoteHead`` is how a router reaches it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from anabranch.components.contract import Context, NodeFeedback
from anabranch.errors import DeployError, Unavailable
from anabranch.graph.calls.cache_status import GRAPH
from anabranch.graph.calls.counts import Counts
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.plan.dependence import blocked_outputs, optional_segments
from anabranch.graph.plan.learners import learners
from anabranch.graph.plan.plan import HEAD
from anabranch.router.admission.admission import Admission
from anabranch.router.admission.bulkheads import bulkheads
from anabranch.router.inference.contract import Array, Evaluated, Verdict
from anabranch.router.tracing import sampler_of
from anabranch.router.traffic.learned_state import Learning
from anabranch.router.traffic.local_head import LocalHead
from anabranch.router.warmup import warm_up
from anabranch.serve.cache.answers import AnswerCache
from anabranch.serve.cache.opening import close_caches
from anabranch.serve.calls.controller import ControllerSource
from anabranch.serve.calls.remote_head import Outputs
from anabranch.serve.calls.remote_segment import RemoteSegment, remote_segment
from anabranch.serve.calls.sending import sender_for
from anabranch.serve.calls.tracing import entered
from anabranch.serve.export.multiplexed_models import parameter_of
from anabranch.serve.identity import here
from anabranch.serve.replicas.answering import AnsweringReplica
from anabranch.serve.replicas.base import Hosted, StartError
from anabranch.serve.replicas.hangs import hung_nodes, watch_loop
from anabranch.serve.scaling.scaling import fewest_let_in
from anabranch.serve.shared.deployed import DeployedModels
from anabranch.serve.shared.model_call import SharedModelCall
from anabranch.serve.streams.served import Method
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Compare
from anabranch.telemetry.sampling import Sampler


class HostedHead:
    """A revision's head, loaded from the bundle in the working folder.

    The other segments are in the Serve application ``segments_app``.
    """

    def __init__(
        self, hosted: Hosted, segments_app: str, caches: Mapping[str, AnswerCache]
    ) -> None:
        self.plan = plan = hosted.loaded.plan
        self._hosted = hosted
        counts = Counts(*here())
        self._models = DeployedModels(plan, plan.nodes, counts)
        own = {
            segment.name: remote_segment(
                plan,
                segment.name,
                segments_app,
                parameter_of(plan, segment),
                counts.hop(segment.name),
            )
            for segment in plan.own_segments[1:]
            if segment.name not in plan.signature.explainers
        }
        self._calls: dict[str, RemoteSegment | SharedModelCall] = {**own, **self._models.calls}
        self._sender = sender_for(plan, segments_app)
        offer = None if self._sender is None else self._sender.offer
        self._caches = caches
        self._executor = HeadExecutor(
            plan, hosted.bound, self._calls, counts.recovered, counts, offer, hung_nodes(), caches
        )
        self.head = LocalHead(self._executor, self.obstacle)
        self._learning = Learning(learners(plan, hosted.bound), ControllerSource(plan.name).learned)

    @classmethod
    async def start(cls, spec: str, segments_app: str) -> HostedHead:
        """Load the head of ``spec``, let it learn, and warm it up. Raises StartError."""
        found = await cls.ready(await Hosted.start(spec, HEAD), segments_app)
        watch_loop()
        return found

    @classmethod
    async def ready(cls, hosted: Hosted, segments_app: str) -> HostedHead:
        """Let a head that is loaded learn, and warm it up. Raises StartError."""
        found = cls(hosted, segments_app, await hosted.caches([GRAPH, *hosted.bound]))
        await found._start_models()
        await found._learning.start()
        warmup = hosted.loaded.graph.spec.warmup
        if warmup is not None:
            try:
                await warm_up(found.head, found.plan, warmup, hosted.loaded.root)
            except DeployError as error:
                raise StartError(str(error)) from None
        hosted.is_ready(HEAD)
        return found

    async def _start_models(self) -> None:
        """Have the shared models at hand that nodes use; StartError where one does not run."""
        try:
            await self._models.start()
        except Unavailable as error:
            await self.unload()
            raise StartError(str(error)) from None

    def keep_room(self, gate: Admission) -> None:
        """Have calls to segments leave places of a gate to requests that do not need these."""
        fewest = {
            name: fewest_let_in([self.plan.segment(name).scaling])
            for name in optional_segments(self.plan)
        }
        for name, bulkhead in bulkheads(fewest, gate).items():
            self._calls[name].bulkhead = bulkhead

    def obstacle(self) -> str:
        """Return which outputs cannot be computed, and why; empty if all can."""
        down = [name for name, call in self._calls.items() if call.is_down]
        blocked = blocked_outputs(self.plan, down) if down else ()
        if not blocked:
            return ""
        return (
            f"output {listing(map(repr, blocked))} cannot be computed, since no replica is healthy "
            f"of segment {listing(map(repr, down))}"
        )

    def sampler(self) -> Sampler:
        """Which requests a router that carries the revision traces."""
        return sampler_of(self._hosted.loaded.graph)

    async def check_health(self, stuck: str | None = None) -> None:
        """Raise StartError, naming the node, if a component says that it is unwell."""
        await self._hosted.check_health(stuck or self._executor.stuck)

    async def unload(self) -> None:
        """Let threads go and components release what they hold."""
        await self._learning.close()
        await self._models.close()
        if self._sender is not None:
            await asyncio.to_thread(self._sender.close)
        self.head.close()
        await close_caches(self._caches)
        await self._hosted.unload()


class HeadReplica(AnsweringReplica):
    """One replica of a revision's head; evaluates the whole graph on request."""

    async def __init__(self, spec: str, segments_app: str) -> None:  # type: ignore[misc]
        self._hosted = hosted = await HostedHead.start(spec, segments_app)
        self._head = hosted.head
        methods: Mapping[str, Method] = {
            "infer": self.infer, "compare": self.compare, "only_streams": self.only_streams,
            "feedback": self.feedback,
        }  # fmt: skip
        await self._answer(methods, {"stream": self.stream}, hosted.plan.timeout)

    async def infer(
        self, inputs: Mapping[str, Array], outputs: Outputs, context: Context
    ) -> Evaluated:
        """Return outputs by name, and the seconds that they took."""
        self._requests += 1
        with entered(context, "segment", HEAD) as inner:
            return await self._head.run(inputs, inner, outputs)

    async def stream(
        self, inputs: Mapping[str, Array], outputs: Outputs, context: Context
    ) -> AsyncGenerator[Evaluated, None]:
        """Give result after result of a graph that may stream, each with the seconds so far."""
        self._requests += 1
        with entered(context, "segment", HEAD) as inner:
            async with aclosing(self._head.stream(inputs, inner, outputs)) as results:
                async for result in results:
                    yield result

    async def only_streams(self) -> bool:
        """Return whether ``run`` refuses the graph, since a node of it streams."""
        return await self._head.only_streams()

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand a reward to the graph's components; return whether any takes some."""
        return await self._head.feedback(given)

    async def compare(
        self,
        inputs: Mapping[str, Array],
        outputs: Outputs,
        context: Context,
        expected: Mapping[str, Array],
        rule: Compare,
    ) -> Verdict:
        """Evaluate likewise; return how that compares with the outputs that are ``expected``.

        So what goes back is small, whatever the size of the outputs.
        """
        self._requests += 1
        with entered(context, "segment", HEAD) as inner:
            return await self._head.compare(inputs, inner, outputs, expected, rule)
