"""What Captum's methods share: rows through the network together, in bounded numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

from anabranch.components.contract import Context
from anabranch.components.extras import require
from anabranch.components.registry import Finding
from anabranch.errors import InvalidRequest
from anabranch.explainers.alibi.library import quiet
from anabranch.explainers.answers import target as class_of
from anabranch.explainers.asked import target_of
from anabranch.explainers.base import Method
from anabranch.explainers.explanation import Explanation
from anabranch.explainers.model import Array
from anabranch.explainers.networks import Network, misfit
from anabranch.explainers.tabular import no_model
from anabranch.specs.models import Explainer, NodeBase

ROWS = 256
"""Most rows that go through the network at once, unless ``internal_batch_size`` says otherwise."""

_SIZES = ("internal_batch_size", "n_steps", "sliding_window_shapes", "strides")


@dataclass(frozen=True)
class Rows:
    """Rows to explain, as tensors on the network's device."""

    explained: Any
    """The input that is explained, [rows, ...]."""
    others: tuple[Any, ...]
    """The network's other inputs, in its order."""
    targets: Any
    """The class of each row, [rows]; None where the network gives one number."""
    predictions: list[float]
    """The score of each row's target."""

    def only(self, chosen: list[int]) -> Rows:
        """Return some of the rows, by their numbers."""
        return Rows(
            self.explained.detach()[chosen].requires_grad_(),
            tuple(other[chosen] for other in self.others),
            None if self.targets is None else self.targets[chosen],
            [self.predictions[row] for row in chosen],
        )


@dataclass(frozen=True)
class Found:
    """What a method says of rows, as tensors and lists of as many."""

    attributions: Any
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Further fields of the explanation of each row."""


class Attribution(Method):
    """A method of Captum: ``attribute`` is all that they differ in."""

    looks_inside: ClassVar[bool] = True

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        input: str | None,
        output: str | None,
        feature_names: list[str] | None,
        internal_batch_size: int,
    ) -> None:
        super().__init__(node, root, input=input, output=output)
        self._names = None if feature_names is None else tuple(feature_names)
        self.most = internal_batch_size

    @staticmethod
    def fits(explained: NodeBase | None) -> str | None:
        """Tell why a node has no network that could be looked into."""
        return misfit(explained)

    @staticmethod
    def check(node: NodeBase) -> Iterator[Finding]:
        """Find sizes below 1, and what nothing is fitted on or loaded from."""
        yield from no_model(node)
        if cast(Explainer, node).data is not None:
            yield ("data",), f"{cast(Explainer, node).method} is fitted on nothing; remove it"
        for name in _SIZES:
            given = cast("list[int] | int", node.args.get(name, 1))
            if (min(given, default=0) if isinstance(given, list) else given) < 1:
                yield ("args", name), "must be at least 1"

    def load(self) -> None:
        """Import Captum and look into the network; CannotLoad where it does not fit."""
        super().load()
        self.captum = require("captum.attr", "explain")
        self.network = self.look_inside()

    def look_inside(self) -> Network:
        """Return the explained network, as the method needs it."""
        return Network(self.model, self.function)

    def attribute(self, rows: Rows) -> Found:
        """Return what Captum says of the rows."""
        raise NotImplementedError

    def explain(self, /, context: Context, **inputs: Array) -> list[Explanation]:
        """Explain each row; InvalidRequest for a target that there is not."""
        wanted, seed = target_of(context), self.seed(context)
        with self.network.session(seed), quiet():
            explained, others = self.network.tensors(inputs)
            return [
                one
                for at in range(0, len(explained), self.most)
                for one in self._chunk(
                    context,
                    wanted,
                    explained[at : at + self.most].detach().requires_grad_(),
                    tuple(other[at : at + self.most] for other in others),
                )
            ]

    def _chunk(
        self, context: Context, wanted: int | None, explained: Any, others: tuple[Any, ...]
    ) -> list[Explanation]:
        scores = self.network.scores(explained, others)
        targets = self._targets(scores, wanted)
        rows = Rows(explained, others, targets, picked(scores, targets))
        found = self.attribute(rows)
        classes = [None] * len(scores) if targets is None else targets.tolist()
        facts = {"prediction": rows.predictions, **found.facts}
        attributions = found.attributions.detach().double().cpu().tolist()
        return [
            self.explanation(
                context,
                target=classes[row],
                feature_names=self._names,
                attributions=attributions[row],
                **{name: values[row] for name, values in facts.items()},
            )
            for row in range(len(scores))
        ]

    def _targets(self, scores: Any, wanted: int | None) -> Any:
        """Return the class to explain for each row: the wanted one, or else the most likely."""
        if scores.ndim == 1:
            if wanted:
                raise InvalidRequest(
                    f"parameter 'target' is {wanted}, but the network gives one number for a row"
                )
            return None
        classes = [class_of(row, wanted) for row in scores.double().cpu().numpy()]
        return self.network.torch.tensor(classes, device=scores.device)


def picked(scores: Any, targets: Any) -> list[float]:
    """Return the score of each row's target."""
    chosen = scores if targets is None else scores.gather(1, targets[:, None])[:, 0]
    found: list[float] = chosen.double().cpu().tolist()
    return found
