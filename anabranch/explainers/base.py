"""Base of all built-in explainer methods, of any library.

A method is a class over ``ExplainerMethod`` in a module that ``builtins.MODULES`` lists::

    @register("explainer", "saliency")
    class Saliency(Method):
        columns = False          # whether several inputs may be joined as columns of a matrix
        looks_inside = True      # whether it needs model.instance

        def __init__(self, node: Explainer, root: Path, *, abs: bool = True, **common: Any) -> None:
            super().__init__(node, root, **common)   # input, output

        def load(self) -> None:  # import the library, fit; raise CannotLoad with the reason
            super().load()

        def explain(self, /, context: Context, **inputs: Array) -> list[Explanation]:
            rows = self.function.rows(inputs)          # the tensor that is explained
            answers = self.function(rows)              # calls the model
            return [
                self.explanation(context, target=..., attributions=...) for row in rows
            ]

The engine calls the constructor, then ``attach(model)``, then ``load()``; from then on ``function``
is the model as a function of one tensor [rows, …]. ``seed(context)`` and
``parameters.target_of(context)`` return parameters of the request; ``predictions`` reads the
model's outputs as scores or labels; ``global_seed.seeded(seed)`` seeds NumPy's global generator for
a block and restores it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from anabranch.components.contract import Context
from anabranch.explainers.explanation import Explanation
from anabranch.explainers.function import Function
from anabranch.explainers.model import ExplainedModel
from anabranch.explainers.parameters import seed_of
from anabranch.specs.models import Explainer


class ExplainerMethod:
    """A built-in explainer: its node, its folder, and the model that it explains.

    Args:
        input: Name of the explained input, where the explained node has several.
        output: Name of the explained output, where the explained node has several.
    """

    columns: ClassVar[bool] = False
    """Whether several inputs of a node may be explained as columns of a matrix."""
    looks_inside: ClassVar[bool] = False
    """Whether the method reads the component itself and not only its answers."""
    model: ExplainedModel
    """Set by ``attach``."""
    function: Function
    """The model as a function of one tensor, from ``load`` on."""

    def __init__(
        self, node: Explainer, root: Path, *, input: str | None = None, output: str | None = None
    ) -> None:
        self.node, self.root = node, root
        self._ports = (input, output)

    def attach(self, model: ExplainedModel) -> None:
        """Store the model, without calling it."""
        self.model = model

    def load(self) -> None:
        """Choose the explained input and output; raise CannotLoad where they are ambiguous."""
        self.function = Function(self.model, *self._ports, columns=self.columns)

    def seed(self, context: Context) -> int:
        """Return the seed of an explanation."""
        return seed_of(context, self.node)

    def explanation(self, context: Context, **found: Any) -> Explanation:
        """Return an explanation with the found fields, the method's name and the seed."""
        return Explanation(method=self.node.method or "", seed=self.seed(context), **found)
