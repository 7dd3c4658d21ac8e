"""Labels of features in metrics, of which there are only so many."""

from __future__ import annotations

from anabranch.telemetry.registry import OTHER

MAX_FEATURES = 64
"""Features of one explainer or monitor that have a label of their own."""


class FeatureLabels:
    """The labels of one explainer's or monitor's features: names of the first, OTHER beyond."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def of(self, feature: str) -> str:
        """Return the label of a feature."""
        if len(self._named) < MAX_FEATURES:
            self._named.add(feature)
        return feature if feature in self._named else OTHER
