"""Asks the explainers of a revision."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.components.contract import Context
from anabranch.graph.explain.answers import ExplainerReply
from anabranch.router.inference.contract import Array
from anabranch.router.table import app_name
from anabranch.serve.calls.membership import ServeMembership
from anabranch.serve.calls.remote_head import closed_with
from anabranch.serve.calls.remote_segment import is_over
from anabranch.serve.calls.replica_calls import ReplicaCalls
from anabranch.serve.calls.secret import call_secret
from anabranch.serve.calls.tracing import hop


class RemoteExplainers:
    """Asks the explainers of one revision. Connections are made when first needed."""

    def __init__(self, graph: str, revision: int) -> None:
        self._application = app_name(graph, "segments", revision)
        self._replicas: dict[str, ReplicaCalls] = {}

    async def __call__(
        self, name: str, inputs: Mapping[str, Array], context: Context, sampled: bool
    ) -> ExplainerReply:
        """Explain a request; cancelling this cancels it there."""
        with hop(context, name) as inner:
            found: ExplainerReply = await self._explainer(name).call(
                "explain", dict(inputs), inner, sampled, is_late=lambda: is_over(context)
            )
        return found

    def _explainer(self, name: str) -> ReplicaCalls:
        if name not in self._replicas:
            membership = ServeMembership(name, name, self._application)
            replicas = ReplicaCalls(name, membership, call_secret())
            closed_with(self, replicas)
            self._replicas[name] = replicas
        return self._replicas[name]
