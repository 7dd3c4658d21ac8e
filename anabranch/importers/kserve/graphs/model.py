"""An InferenceGraph as it was written: its nodes, their steps, and the targets of those."""

from __future__ import annotations

from dataclasses import dataclass

from anabranch.importers.fields import Fields

ROOT = "root"
"""The node at which every request begins."""
SEQUENCE, SWITCH, ENSEMBLE, SPLITTER = "Sequence", "Switch", "Ensemble", "Splitter"
ROUTER_TYPES = (ENSEMBLE, SEQUENCE, SPLITTER, SWITCH)


@dataclass(frozen=True)
class GraphStep:
    """One step of a node; exactly one of ``node``, ``service`` and ``url`` is not empty."""

    fields: Fields
    index: int
    name: str
    node: str = ""
    service: str = ""
    url: str = ""
    takes_response: bool = False
    """Whether a step of a Sequence gets the response of the step before it."""
    maps_predictions: bool = False
    weight: int = 0
    condition: str = ""
    hard: bool = False

    @property
    def key(self) -> str:
        """The key of the step's response in that of an Ensemble: its name, else its place."""
        return self.name or str(self.index)


@dataclass(frozen=True)
class RouterNode:
    """One node of an InferenceGraph."""

    fields: Fields
    name: str
    type: str
    steps: tuple[GraphStep, ...]
