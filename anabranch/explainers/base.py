"""What all built-in methods share, whichever library they use.

A method is a class over ``ExplainerMethod`` in a module that ``builtins.MODULES`` lists::

    @register("explainer", "saliency")
    class Saliency(Method):
        columns = False          # whether several inputs may be taken for columns of a matrix
        looks_inside = True      # whether it needs model.instance

        def __init__(self, node: Explainer, root: Path, *, abs: bool = True, **common: Any) -> None:
            super().__init__(node, root, **common)   # input, output

        def load(self) -> None:  # import the library, fit; CannotLoad says what does not fit
            super().load()

        def explain(self, /, context: Context, **inputs: Array) -> list[Explanation]:
            rows = self.function.rows(inputs)          # the tensor that is explained
            answers = self.function(rows)              # calls the model
            return [
                self.explanation(context, target=..., attributions=...) for row in rows
            ]

The engine calls the constructor, then ``attach(model)``, then ``load()``; ``function`` is the model
as a function of one tensor, from then on. ``seed(context)`` and ``asked.target_of(context)`` are
what the request asked for; ``answers`` reads what a model gives as scores or labels;
``seeding.seeded(seed)`` seeds NumPy's global generator for a block and gives it back.
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
    """A built-in explainer: its node, its folder, and the model that it explains."""

    columns: ClassVar[bool] = False
    """Whether a node with several inputs may be explained as a matrix of them."""
    looks_inside: ClassVar[bool] = False
    """Whether it needs the component itself and not only its answers."""
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
        """Take the model; nothing is asked of it yet."""
        self.model = model

    def load(self) -> None:
        """Find out which input and output are meant; CannotLoad where that is not clear."""
        self.function = Function(self.model, *self._ports, columns=self.columns)

    def seed(self, context: Context) -> int:
        """Return the seed of an explanation."""
        return seed_of(context, self.node)

    def explanation(self, context: Context, **found: Any) -> Explanation:
        """Return what was found, with the method's name and the seed."""
        return Explanation(method=self.node.method or "", seed=self.seed(context), **found)
