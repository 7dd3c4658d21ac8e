"""An explainer as a Serve deployment: apart from the request path, and behind everything on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from anabranch.components.contract import Bound, Context
from anabranch.graph.compile.explainers import explained_part
from anabranch.graph.compile.loading import Loaded
from anabranch.graph.explain.answers import ExplainerReply
from anabranch.graph.explain.explainer import Explaining
from anabranch.graph.explain.metrics import ExplanationMetrics
from anabranch.graph.explain.model import Array
from anabranch.graph.plan.plan import Plan
from anabranch.serve.calls.handle import Handle
from anabranch.serve.calls.remote_segment import RemoteSegment, remote_segment
from anabranch.serve.calls.tracing import entered
from anabranch.serve.export.multiplexed_models import parameter_of
from anabranch.serve.heartbeat import SLOW_PATIENCE_S, start_heartbeat
from anabranch.serve.identity import here
from anabranch.serve.replicas.answering import AnsweringReplica
from anabranch.serve.replicas.base import Hosted
from anabranch.serve.shared.deployed import DeployedModels
from anabranch.serve.shared.model_call import SharedModelCall


class ExplainerReplica(AnsweringReplica):
    """One replica of an explainer; it asks the other segments, in the application ``segments_app``.

    ``peers`` are these segments, named for the same reason as in ``SegmentReplica``.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, spec: str, segment: str, peers: list[Handle], segments_app: str
    ) -> None:
        del peers
        self._segment = segment

        async def load(loaded: Loaded) -> Mapping[str, Bound]:
            calls = self._calls = Called(loaded.plan, segment, segments_app)
            await calls.models.start()
            self._explaining = await Explaining.load(loaded.plan, segment, loaded.root, calls)
            return self._explaining.bound

        self._hosted = hosted = await Hosted.start(spec, segment, load)
        self._shown = ExplanationMetrics(*here(), segment)
        await self._answer({"explain": self.explain}, {}, hosted.loaded.plan.timeout)
        start_heartbeat(SLOW_PATIENCE_S)
        hosted.is_ready(segment)
        step_aside()

    async def explain(
        self, inputs: Mapping[str, Array], context: Context, sampled: bool
    ) -> ExplainerReply:
        """Explain a request. What is ``sampled`` of the traffic is shown in metrics and the log."""
        self._requests += 1
        explanation = self._explain(inputs, context, sampled)
        return await self._shown.counted(explanation, context.id if sampled else None)

    async def _explain(
        self, inputs: Mapping[str, Array], context: Context, sampled: bool
    ) -> ExplainerReply:
        with entered(context, "explainer", self._segment) as inner:
            return await self._explaining.explain(inputs, inner, sampled)

    def _stuck(self) -> str | None:
        return self._explaining.stuck

    async def _close(self) -> None:
        await super()._close()
        await self._calls.models.close()
        self._explaining.close()


class Called:
    """Calls of an explainer to the segments of its revision, and to shared models."""

    def __init__(self, plan: Plan, explainer: str, application: str) -> None:
        self._plan = plan
        self._application = application
        self.models = DeployedModels(plan, explained_part(plan, explainer).called)

    def __call__(self, name: str) -> RemoteSegment | SharedModelCall:
        """The call to a segment, whether or not it is there yet."""
        if name in self.models.calls:
            return self.models.call(name)
        multiplex = parameter_of(self._plan, self._plan.segment(name))
        return remote_segment(self._plan, name, self._application, multiplex)


def step_aside() -> None:
    """Let this process have only the time of processors that nothing else wants, on Linux.

    It holds for this thread and for those that it starts from now on. What has to answer a
    prediction then takes the processor from an explanation at once.
    """
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
