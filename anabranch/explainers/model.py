"""What explainers see of the model that they explain: a function, wherever it runs.

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
    """Types of its inputs by parameter; None where they are not known."""
    outputs: Mapping[str, TensorSpec | None] | None
    """Types of its outputs; None where not even their names are known."""
    instance: Any
    """The component itself, for methods that look into it; None where only calls reach it."""

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Evaluate rows (dimension 0), as many as there are: large calls are split and spread.

        Waits for the answer. Raises NodeError, Unavailable or DeadlineExceeded as a request would.
        """
        ...
