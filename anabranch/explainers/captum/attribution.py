"""Base of Captum's methods: rows go through the network together, in bounded numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from anabranch.components.arguments import AtLeastOne
from anabranch.components.contract import Context
from anabranch.components.extras import require
from anabranch.errors import InvalidRequest, Mistake
from anabranch.explainers.alibi.library import quiet
from anabranch.explainers.base import ExplainerMethod
from anabranch.explainers.captum.baselines import ZERO, Baseline
from anabranch.explainers.explanation import Explanation
from anabranch.explainers.model import Array
from anabranch.explainers.networks import Network, misfit
from anabranch.explainers.parameters import target_of
from anabranch.explainers.predictions import target as class_of
from anabranch.explainers.tabular import no_model
from anabranch.specs.models import Explainer

ROWS = 256
"""Most rows that go through the network at once, unless ``internal_batch_size`` says otherwise."""


@dataclass(frozen=True)
class Rows:
    """Rows to explain, as tensors on the network's device."""

    explained: Any
    """The input that is explained, [rows, ...]."""
    others: tuple[Any, ...]
    """The network's other inputs, in its order."""
    classes: list[int] | None
    """The class of each row; None where the network gives one number."""
    predictions: list[float]
    """The score of each row's class."""
    baseline: Any = None
    """One row of which nothing is known [1, ...], where the method has one."""
    base_values: list[float] = field(default_factory=list)
    """The score of each row's class at the baseline."""

    @property
    def target(self) -> int | list[int] | None:
        """The classes in the form that Captum takes: one number where all rows have one class."""
        if self.classes is None or len(set(self.classes)) > 1:
            return self.classes
        return self.classes[0]

    def missed(self, attributions: Any) -> list[float]:
        """Return the error of each row's sum of attributions."""
        sums = attributions.detach().double().reshape(len(self.predictions), -1).sum(1).tolist()
        triples = zip(sums, self.predictions, self.base_values, strict=True)
        return [total - (prediction - low) for total, prediction, low in triples]

    def only(self, chosen: list[int]) -> Rows:
        """Return some of the rows, by their numbers."""
        return Rows(
            self.explained.detach()[chosen].requires_grad_(),
            tuple(other[chosen] for other in self.others),
            None if self.classes is None else [self.classes[row] for row in chosen],
            [self.predictions[row] for row in chosen],
            self.baseline,
            [self.base_values[row] for row in chosen],
        )


@dataclass(frozen=True)
class Attributions:
    """The attributions of rows, as tensors and lists with an entry a row."""

    attributions: Any
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Further fields of the explanation of each row."""


class Attribution(ExplainerMethod):
    """A method of Captum; methods differ in ``attribute`` only.

    Args:
        feature_names: Names of the features, in their order.
        internal_batch_size: Most rows that go through the network at once, at least 1.
    """

    looks_inside: ClassVar[bool] = True
    _baseline: Baseline | None = None

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        feature_names: list[str] | None = None,
        internal_batch_size: AtLeastOne = ROWS,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._names = None if feature_names is None else tuple(feature_names)
        self.most = internal_batch_size

    fits = staticmethod(misfit)

    @staticmethod
    def check(node: Explainer) -> Iterator[Mistake]:
        """Find a sample, or a fitted explainer, which the methods do not take."""
        yield from no_model(node)
        if node.data is not None:
            yield ("data",), f"{node.method} is fitted on nothing; remove it"

    def load(self) -> None:
        """Import Captum and read the network; raise CannotLoad where it does not fit."""
        super().load()
        self.captum = require("captum.attr", "explain")
        self.network = self.look_inside()

    def look_inside(self) -> Network:
        """Return the explained network in the form that the method needs."""
        return Network(self.model, self.function)

    def attribute(self, rows: Rows) -> Attributions:
        """Return Captum's attributions of the rows."""
        raise NotImplementedError

    def explain(self, /, context: Context, **inputs: Array) -> list[Explanation]:
        """Explain each row; raise InvalidRequest for an unknown target."""
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
        baseline = None if self._baseline is None else self._baseline.of(explained)
        scores, base = self._scores(explained, others, baseline)
        classes = _classes(scores, wanted)
        low = [] if base is None else _picked(base, classes)
        rows = Rows(explained, others, classes, _picked(scores, classes), baseline, low)
        found = self.attribute(rows)
        facts = {"prediction": rows.predictions, **found.facts}
        if base is not None:
            facts["base_value"] = rows.base_values
        attributions = found.attributions.detach().double().cpu().tolist()
        return [
            self.explanation(
                context,
                target=None if classes is None else classes[row],
                feature_names=self._names,
                attributions=attributions[row],
                **{name: values[row] for name, values in facts.items()},
            )
            for row in range(len(scores))
        ]

    def _scores(
        self, explained: Any, others: tuple[Any, ...], baseline: Any
    ) -> tuple[Array, Array | None]:
        """Return the scores of rows in FP64, and where there is a baseline, those at it."""
        if baseline is None:
            return _on_cpu(self.network.scores(explained, others)), None
        count, cat = len(explained), self.network.torch.cat
        low = baseline.expand(count, *baseline.shape[1:]) if others else baseline
        both = self.network.scores(
            cat([explained.detach(), low]), tuple(cat([other, other]) for other in others)
        )
        scores = _on_cpu(both)
        return scores[:count], np.broadcast_to(scores[count:], (count, *scores.shape[1:]))


class BaselineAttribution(Attribution):
    """A method of Captum that compares a row with ``baseline``, of which nothing is known.

    Args:
        baseline: The row of which nothing is known: a number for every element, or the name of a
            ``.npy`` in the bundle; ``zero`` is 0.
    """

    def __init__(
        self, node: Explainer, root: Path, *, baseline: float | str = ZERO, **common: Any
    ) -> None:
        super().__init__(node, root, **common)
        self._baseline = Baseline(baseline, root)


def _on_cpu(scores: Any) -> Array:
    found: Array = scores.double().cpu().numpy()
    return found


def _classes(scores: Array, wanted: int | None) -> list[int] | None:
    """Return the class to explain for each row: the wanted one, or else the most likely."""
    if scores.ndim == 2:
        return [class_of(row, wanted) for row in scores]
    if wanted:
        raise InvalidRequest(
            f"parameter 'target' is {wanted}, but the network gives one number for a row"
        )
    return None


def _picked(scores: Array, classes: list[int] | None) -> list[float]:
    """Return the score of each row's class."""
    chosen = scores if classes is None else scores[np.arange(len(classes)), classes]
    found: list[float] = chosen.tolist()
    return found
