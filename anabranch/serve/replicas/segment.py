"""A segment as a Serve deployment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from anabranch.components.contract import Context, NodeFeedback
from anabranch.graph.calls.annotated import annotator
from anabranch.graph.calls.counts import Counts
from anabranch.graph.execute.executor import SegmentExecutor
from anabranch.graph.plan.plan import Segment
from anabranch.serve.cache.opening import close_caches
from anabranch.serve.calls.handle import Handle
from anabranch.serve.calls.sending import sender_for
from anabranch.serve.calls.tracing import entered
from anabranch.serve.identity import here
from anabranch.serve.replicas.answering import AnsweringReplica
from anabranch.serve.replicas.base import Hosted
from anabranch.serve.replicas.hangs import hung_nodes, watch_loop
from anabranch.serve.streams.served import Method


class SegmentReplica(AnsweringReplica):
    """One replica of a segment: loads the segment's nodes and evaluates them on request.

    ``peers`` are the other segments of the revision. A Serve application is what its first
    deployment refers to, and segments never call each other, so they are only named here.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, spec: str, segment: str, peers: list[Handle]
    ) -> None:
        del peers
        self._hosted = hosted = await Hosted.start(spec, segment)
        plan = hosted.loaded.plan
        own = hosted.segment(segment)
        self._sender = sender_for(plan)
        offer = None if self._sender is None else self._sender.offer
        self._caches = caches = await hosted.caches(own.nodes)
        counts = Counts(*here())
        self._executor = SegmentExecutor(
            plan, own, hosted.bound, counts.recovered, counts, offer, hung_nodes(), caches
        )
        methods: Mapping[str, Method] = {
            "evaluate": self.evaluate, "streaming": self.streaming, "feedback": self.feedback,
        }  # fmt: skip
        await self._answer(methods, {"stream": self.stream}, plan.timeout)
        watch_loop()
        hosted.is_ready(segment)

    async def evaluate(
        self, values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> Any:
        """Evaluate ``wants``, given the values of other vertices."""
        self._requests += 1
        annotate = annotator(context)
        with entered(context, "segment", self._executor.segment.name) as inner:
            return annotate(await self._executor.run(values, wants, inner))

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand a reward to the components here; return whether any takes some."""
        return await self._executor.feedback.give(given)

    async def streaming(self) -> Mapping[str, bool]:
        """The nodes here that stream, and whether their results can be joined."""
        return self._executor.streaming

    async def stream(
        self, values: Mapping[str, Any], want: str, context: Context
    ) -> AsyncGenerator[Any, None]:
        """The values of a node that streams, each with the annotations so far."""
        self._requests += 1
        annotate = annotator(context)
        with entered(context, "segment", self._executor.segment.name) as inner:
            async with aclosing(self._executor.stream(values, want, inner)) as found:
                async for value in found:
                    yield annotate(value)

    def _stuck(self) -> str | None:
        return self._executor.stuck

    async def _close(self) -> None:
        await super()._close()
        if self._sender is not None:
            await asyncio.to_thread(self._sender.close)
        await close_caches(self._caches)


def actor_options(
    segment: Segment, runtime_env: Mapping[str, Any], address: str = ""
) -> dict[str, Any]:
    """Ray actor options of a segment's replicas; ``address`` is that of the only machine for them.

    A segment that asks for no CPU reserves none, so that a laptop fits many graphs: Ray only
    counts CPUs, it does not fence them.
    """
    wanted, placement = segment.resources, segment.placement
    options: dict[str, Any] = {"num_cpus": 0, "runtime_env": dict(runtime_env)}
    # Not by Ray's id, which a machine that comes back does not have any more.
    custom = {f"node:{address}": 0.001} if address else {}
    if wanted is not None:
        named = {
            "num_cpus": wanted.cpu,
            "num_gpus": wanted.gpu,
            "memory": None if wanted.memory is None else int(wanted.memory),
            "accelerator_type": wanted.accelerator,
        }
        options |= {name: value for name, value in named.items() if value is not None}
        custom |= wanted.custom or {}
    if custom:
        options["resources"] = custom
    if placement is not None and placement.labels:
        # Ray 2.60 takes a space after a comma for a part of the value.
        options["label_selector"] = {k: v.replace(" ", "") for k, v in placement.labels.items()}
    return options
