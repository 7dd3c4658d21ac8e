"""The explained model as explainers see it: a function, wherever it runs.

An explainer, built-in or a component, may have a method ``attach(model)``: it is called once, after
the constructor and before ``load()``. ``explain`` may then call the model as often as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np

from anabranch.specs.models import NodeBase, TensorSpec

Array: TypeAlias = np.ndarray[Any, Any]


class ExplainedModel(Protocol):
    """The explained node, or the whole graph where ``node`` is None; callable from any thread."""

    node: NodeBase | None
    """The spec of the node."""
    inputs: Mapping[str, TensorSpec | None]
    """Types of the node's inputs by parameter; None for unknown types."""
    outputs: Mapping[str, TensorSpec | None] | None
    """Types of the node's outputs; None where not even their names are known."""
    instance: Any
    """The component itself, for methods that read it; None where only calls reach the node."""

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Evaluate any number of rows (dimension 0); large calls are split.

        Wait for the answer, and return arrays by output. Raise NodeError, Unavailable or
        DeadlineExceeded as a request would.
        """
