"""Asks the explainers of a revision, through Serve's handles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve

from anabranch.components.contract import Context
from anabranch.errors import AnabranchError
from anabranch.graph.explain.answers import ExplainerReply
from anabranch.router.core import Array
from anabranch.router.table import app_name
from anabranch.serve.calls.attempts import Handle
from anabranch.serve.calls.handle import ask, is_over, shipped
from anabranch.serve.calls.remote_head import shut_down_with
from anabranch.serve.calls.tracing import hop, within


class HandleExplain:
    """Asks the explainers of one revision. Handles are made when first needed."""

    def __init__(self, graph: str, revision: int) -> None:
        self._application = app_name(graph, "segments", revision)
        self._handles: dict[str, Handle] = {}

    async def __call__(
        self, name: str, inputs: Mapping[str, Array], context: Context, sampled: bool
    ) -> ExplainerReply:
        """Explain a request; cancelling this cancels it there."""
        if context.trace is None:
            return await self._ask(name, inputs, context, sampled)
        with hop(context.trace, name) as recording:
            return await self._ask(name, inputs, within(context, recording), sampled)

    async def _ask(
        self, name: str, inputs: Mapping[str, Array], context: Context, sampled: bool
    ) -> ExplainerReply:
        sent = dict(inputs), shipped(context), context.remaining(), sampled
        method: Any = self._handle(name).explain
        found: ExplainerReply | AnabranchError
        found = await ask(name, method, *sent, is_late=lambda: is_over(context))
        if isinstance(found, AnabranchError):
            raise found
        return found

    def _handle(self, name: str) -> Handle:
        if name not in self._handles:
            handle = serve.get_deployment_handle(
                name, self._application, _check_exists=False, _record_telemetry=False
            )
            shut_down_with(self, handle)
            self._handles[name] = handle
        return self._handles[name]
