"""Permutation importance: the loss of the model's quality when a feature is shuffled.

Breiman: Random Forests, 2001; Fisher, Rudin and Dominici: All Models are Wrong, but Many are
Useful, JMLR 2019.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from anabranch.components.arguments import AtLeastOne
from anabranch.components.contract import CannotLoad, Context
from anabranch.components.registry import register
from anabranch.errors import InvalidRequest, Mistake
from anabranch.explainers.alibi.global_methods import MOST, Whole
from anabranch.explainers.alibi.library import library, quiet
from anabranch.explainers.explanation import Explanation
from anabranch.explainers.global_seed import seeded
from anabranch.explainers.json_values import plain
from anabranch.explainers.model import Array
from anabranch.explainers.parameters import target_of
from anabranch.explainers.predictions import labels, plain_label, scores
from anabranch.explainers.tabular import no_texts
from anabranch.specs.models import Explainer

Metric = Literal[
    "accuracy",
    "precision",
    "recall",
    "f1",
    "log_loss",
    "roc_auc",
    "r2",
    "mean_absolute_error",
    "mean_squared_error",
    "mean_squared_log_error",
    "mean_absolute_percentage_error",
]
_LABELS = frozenset({"accuracy", "precision", "recall", "f1"})
_WANTED = {"log_loss": "probabilities", "roc_auc": "the score of class 1"}
_HIGHER_IS_BETTER = _LABELS | {"roc_auc", "r2"}


@register("explainer", "permutation_importance")
class PermutationImportance(Whole):
    """The importance of each feature by the first of ``metrics``; ``library`` has all of them.

    ``data`` needs the truth of each row: ``y`` of a .npz, or the column ``label`` of a .csv.
    ``kind`` is the comparison of the shuffled and the original metric; the other arguments are
    those of Alibi's ``PermutationImportance``.

    Args:
        metrics: Metrics of the model; the first one is the importance.
        method: ``estimate`` shuffles, ``exact`` compares each pair of rows.
        kind: Comparison of the metric after and before: ``ratio`` or ``difference``.
        n_repeats: Shuffles of each feature, at least 1.
    """

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        metrics: Annotated[list[Metric], Field(min_length=1)],
        method: Literal["estimate", "exact"] = "estimate",
        kind: Literal["ratio", "difference"] = "ratio",
        n_repeats: AtLeastOne = 50,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._metrics = metrics
        self._options = {"method": method, "kind": kind, "n_repeats": n_repeats}

    fits = staticmethod(partial(no_texts, "permutation_importance"))

    @staticmethod
    def check(node: Explainer) -> Iterable[Mistake]:
        """Find a missing sample, and metrics that need different outputs of the model."""
        yield from Whole.check(node)
        args: Mapping[str, Any] = node.args
        wanted = {_wants(metric) for metric in args["metrics"]}
        if len(wanted) > 1:
            yield ("args", "metrics"), f"some want {' and some '.join(sorted(wanted))}: split them"

    def find(self) -> None:
        """Compute the importance for the node's seed."""
        if self.sample.y is None:
            raise CannotLoad(
                "permutation_importance needs the truth of each row: y in a .npz, or args: "
                "{label: column} of a .csv"
            )
        self._truth = _truth(self.sample.y, _wants(self._metrics[0]))
        self._found = (self.node.seed, self._importance(self.node.seed))

    def explain(self, /, context: Context, **inputs: Array) -> list[Explanation]:
        """Return one explanation of the model as a whole."""
        if target_of(context) is not None:
            raise InvalidRequest(
                "permutation_importance speaks of all classes: it takes no parameter 'target'"
            )
        seed = self.seed(context)
        if seed != self._found[0]:
            self._found = (seed, self._importance(seed))
        data = self._found[1]
        values = [_mean(one) for one in data["feature_importance"][0]]
        return [
            self.explanation(
                context,
                target=self.function.output,
                feature_names=self.chosen_names,
                attributions=plain(values),
                library=plain(data),
            )
        ]

    def _importance(self, seed: int) -> Mapping[str, Any]:
        predictor = self.progress.watched(self._answers)
        kinds: dict[str, list[str]] = {"loss_fns": [], "score_fns": []}
        for metric in self._metrics:
            kinds["score_fns" if metric in _HIGHER_IS_BETTER else "loss_fns"].append(metric)
        explainer = library().PermutationImportance(
            predictor, feature_names=list(self.names), **{k: v or None for k, v in kinds.items()}
        )
        if self._options["method"] == "estimate":
            _join(explainer)
        try:
            with seeded(seed), quiet():
                found = explainer.explain(
                    self.sample.x, self._truth, features=self.chosen, **self._options
                )
        except ValueError as error:
            raise CannotLoad(f"permutation_importance: {' '.join(str(error).split())}") from None
        data: Mapping[str, Any] = found.data
        # Alibi puts losses first; here the order is that of the args.
        order = [data["metric_names"].index(metric) for metric in self._metrics]
        return {
            **data,
            "metric_names": list(self._metrics),
            "feature_importance": [data["feature_importance"][index] for index in order],
        }

    def _answers(self, rows: Array) -> Array:
        answers, wants = self.function(rows), _wants(self._metrics[0])
        if wants == "classes":
            return _texts(labels(answers))
        found = scores(answers)
        if found.shape[1] == 1 or (found.shape[1] == 2 and wants == "the score of class 1"):
            return found[:, -1]
        return found


def _join(explainer: Any) -> None:
    """Let all repeats of a feature ask the model together; the result stays the same.

    A rehearsal draws what the library will draw, without metrics, then the model is asked once, and
    the library gets the answers in their order.
    """
    estimate, predictor = explainer._compute_estimate, explainer.predictor

    def joined(**options: Any) -> Any:
        if options["X"].size * options["n_repeats"] > MOST:
            return estimate(**options)
        state = np.random.get_state()
        rows: list[Array] = []
        losses, gains = explainer.loss_fns, explainer.score_fns
        explainer.loss_fns, explainer.score_fns = {}, {}
        explainer.predictor = rows.append
        estimate(**{**options, "loss_orig": {}, "score_orig": {}})
        np.random.set_state(state)
        answers = np.split(predictor(np.concatenate(rows)), len(rows))
        turns = iter(answers)
        explainer.loss_fns, explainer.score_fns = losses, gains
        explainer.predictor = lambda drawn: next(turns)
        try:
            return estimate(**options)
        finally:
            explainer.predictor = predictor

    explainer._compute_estimate = joined


def _wants(metric: str) -> str:
    """Return what a metric compares with what is true."""
    return "classes" if metric in _LABELS else _WANTED.get(metric, "numbers")


def _truth(y: Array, wants: str) -> Array:
    """Return labels as the model's answers are compared with them."""
    if wants == "numbers" or y.dtype.kind in "iub":
        return y
    if y.dtype.kind == "f" and np.array_equal(y, np.round(y)):
        return y.astype(np.int64)
    return _texts(y)


def _texts(values: Array) -> Array:
    """Return BYTES as texts, and anything else as it is."""
    if values.dtype.kind not in "OS":
        return values
    return np.array([plain_label(value) for value in values], dtype=np.str_)


def _mean(importance: Any) -> float:
    return float(importance["mean"] if isinstance(importance, Mapping) else importance)
