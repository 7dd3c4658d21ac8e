"""Counts of the calls of one graph to one shared model."""

from __future__ import annotations

from anabranch.telemetry import definitions
from anabranch.telemetry.registry import REGISTRY, Registry


class ModelUse:
    """Counts of the calls by ``user``, a graph, to the shared model ``model``."""

    def __init__(self, model: str, user: str, registry: Registry = REGISTRY) -> None:
        self._model = model
        self._user = user
        self._registry = registry

    def answered(self, revision: int, seconds: float) -> None:
        """Count a call that a revision answered after so long."""
        labels = self._labels(revision)
        self._registry.number(definitions.MODEL_REQUESTS, *labels).value += 1
        self._registry.distribution(definitions.MODEL_DURATION, *labels).observe(seconds)

    def failed(self, revision: int, error: Exception) -> None:
        """Count a call that a revision failed."""
        labels = self._labels(revision)
        self._registry.number(definitions.MODEL_REQUESTS, *labels).value += 1
        kind = type(error).__name__
        self._registry.number(definitions.MODEL_ERRORS, *labels, kind).value += 1

    def _labels(self, revision: int) -> tuple[str, str, str]:
        return self._model, str(revision), self._user
