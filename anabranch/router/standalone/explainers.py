"""The explainers of a revision that are in this process."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.components.contract import Context
from anabranch.graph.explain.answers import ExplainerReply
from anabranch.graph.explain.explainer import Explaining
from anabranch.graph.explain.metrics import ExplanationMetrics
from anabranch.router.inference.contract import Array


class StandaloneExplainers:
    """Asks the explainers of one revision, which run in threads; an ``Explain``."""

    def __init__(self, graph: str, revision: int, explaining: Mapping[str, Explaining]) -> None:
        self._explaining = explaining
        self._shown = {name: ExplanationMetrics(graph, str(revision), name) for name in explaining}

    async def __call__(
        self, name: str, inputs: Mapping[str, Array], context: Context, sampled: bool
    ) -> ExplainerReply:
        """Explain a request; what is ``sampled`` is shown in metrics and the log."""
        explanation = self._explaining[name].explain(dict(inputs), context, sampled)
        return await self._shown[name].counted(explanation, context.id if sampled else None)
