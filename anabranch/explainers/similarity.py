"""Similarity: the samples whose loss has gradients similar to those of the row's loss.

Charpiat et al., "Input Similarity from the Neural Network Perspective" (NeurIPS 2019), by Alibi.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anabranch.components.arguments import AtLeastOne
from anabranch.components.contract import CannotLoad, Context
from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.errors import InvalidRequest, Mistake
from anabranch.explainers import samples
from anabranch.explainers.alibi.library import library, quiet
from anabranch.explainers.base import ExplainerMethod
from anabranch.explainers.explanation import Example, Explanation
from anabranch.explainers.json_values import plain
from anabranch.explainers.model import Array
from anabranch.explainers.networks import Network, misfit
from anabranch.explainers.parameters import target_of
from anabranch.explainers.predictions import target as class_of
from anabranch.explainers.progress import ExplanationProgress
from anabranch.explainers.tabular import needs_data, no_model
from anabranch.specs.models import Explainer

LOSSES = {
    "classification": ("cross_entropy", "nll_loss"),
    "regression": ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"),
}
"""Functions of ``torch.nn.functional`` by task, the default first."""
MOST_BYTES = 2**30
"""Largest table of gradients that is kept."""
TRUTH = "truth"
"""Request parameter: the true value of the rows, for regression."""
_DTYPES = {"torch.float16": np.float16, "torch.float32": np.float32, "torch.float64": np.float64}


@register("explainer", "similarity")
class Similarity(ExplainerMethod):
    """The ``top`` rows of ``data`` (x and y) that support the answer most, by ``sim_fn``.

    The row's own class is the target, or for ``task: regression`` the request's parameter
    ``truth``. ``loss`` is a function of ``torch.nn.functional``; ``layer`` takes the gradients of
    its weights only. With ``precompute_grads`` those of the sample are kept, rows times weights.

    Args:
        task: Kind of the network: its answers are classes, or numbers.
        loss: Loss whose gradients are compared, a function of ``torch.nn.functional``;
            ``cross_entropy``, or ``mse_loss`` for regression, if left out.
        sim_fn: Similarity of two gradients: their product, its cosine, or the product divided by
            the squared length of the sample's gradient.
        layer: Name of the layer whose weights count; all weights if left out.
        precompute_grads: Whether gradients of the sample are kept in memory.
        top: Number of similar rows in an explanation, at least 1.
        label: Column of a ``.csv`` that holds the truth.
    """

    looks_inside = True

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        task: Literal["classification", "regression"] = "classification",
        loss: Literal[
            "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"
        ]
        | None = None,
        sim_fn: Literal["grad_dot", "grad_cos", "grad_asym_dot"] = "grad_dot",
        layer: str | None = None,
        precompute_grads: bool = True,
        top: AtLeastOne = 5,
        label: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._task, self._loss, self._layer = task, loss or LOSSES[task][0], layer
        self._options = {"sim_fn": sim_fn, "task": task, "precompute_grads": precompute_grads}
        self._top, self._label = top, label

    fits = staticmethod(misfit)

    @staticmethod
    def check(node: Explainer) -> Iterator[Mistake]:
        """Find a missing sample, a fitted explainer, and a loss of another task."""
        yield from needs_data(node)
        yield from no_model(node)
        losses = LOSSES[str(node.args.get("task", "classification"))]
        if node.args.get("loss") not in (None, *losses):
            yield ("args", "loss"), f"for this task it is one of {', '.join(losses)}"

    def load(self) -> None:
        """Compute the gradients of the sample; raise CannotLoad where it does not fit."""
        super().load()
        if self.function.others:
            raise CannotLoad("similarity takes networks with a single input")
        self.network = Network(self.model, self.function)
        sample = samples.read(self.node, self.root, self._label)
        x = sample.x.astype(self._dtype())
        with self._gradients(self.node.seed):
            y = self._truths(x, sample.y)
            self._explainer = self._created(x)
            with ExplanationProgress().work(f"similarity takes the gradients of {len(x)} rows"):
                self._explainer.fit(x, y)
        self._count = len(x)

    def explain(self, /, context: Context, **inputs: Array) -> list[Explanation]:
        """Return the nearest rows of the sample for each row; InvalidRequest without truth."""
        rows, _ = self.network.tensors(inputs)
        with self._gradients(self.seed(context)):
            targets = self._targets(context, self.network.scores(rows, ()))
            found = self._explainer.explain(rows, targets)
        return [self._of_row(context, found.data, row, targets) for row in range(len(rows))]

    @contextmanager
    def _gradients(self, seed: int) -> Iterator[None]:
        """Record gradients, of which none stays behind in the weights."""
        with self.network.session(seed), quiet():
            try:
                yield
            finally:
                for weight in self.network.explained.parameters():
                    weight.grad = None

    def _dtype(self) -> Any:
        """Return what the network calculates in, as a dtype of NumPy."""
        weight = next(iter(self.network.explained.parameters()), None)
        found = _DTYPES.get(str(getattr(weight, "dtype", None)))
        if found is None:
            raise CannotLoad("similarity needs a network with weights of FP16, FP32 or FP64")
        return found

    def _truths(self, x: Array, y: Array | None) -> Array:
        """Return the sample's labels as the loss takes them."""
        if y is None:
            raise CannotLoad("similarity needs labels: y in the .npz, or args.label of a .csv")
        first, _ = self.network.tensors({self.function.input: x[:1]})
        scores = self.network.scores(first, ())
        if self._task == "regression":
            return _values(y, scores)
        return _classes(y, scores)

    def _created(self, x: Array) -> Any:
        modules = require("anabranch.explainers.networks.modules", "torch")
        try:
            weighted = modules.WeightedModule(self.network.explained, self._layer)
        except ValueError as error:
            raise CannotLoad(str(error)) from None
        count = sum(one.numel() for one in weighted.parameters())
        size = len(x) * count * x.dtype.itemsize
        if self._options["precompute_grads"] and size > MOST_BYTES:
            raise CannotLoad(
                f"gradients of {len(x)} rows by {count} weights take {size} bytes, more than "
                f"{MOST_BYTES}: set args.precompute_grads to false, name a layer, or take fewer"
            )
        return library().GradientSimilarity(
            weighted,
            getattr(self.network.torch.nn.functional, self._loss),
            backend="pytorch",
            device=self.network.device,
            **self._options,
        )

    def _targets(self, context: Context, scores: Any) -> Any:
        """Return what the loss holds each row against: a class, or the truth of a request."""
        torch = self.network.torch
        if self._task == "regression":
            return scores.new_full(scores.shape, _truth(context))
        wanted = target_of(context)
        classes = [class_of(row, wanted) for row in scores.double().cpu().numpy()]
        return torch.tensor(classes, device=scores.device)

    def _of_row(self, context: Context, data: Any, row: int, targets: Any) -> Explanation:
        scores, order = data["scores"][row], data["ordered_indices"][row]
        nearest = zip(order[: self._top].tolist(), scores[: self._top].tolist(), strict=True)
        return self.explanation(
            context,
            target=None if self._task == "regression" else int(targets[row]),
            examples=tuple(Example(index=index, score=score) for index, score in nearest),
            library=plain({name: values[row] for name, values in data.items()}),
        )


def _truth(context: Context) -> float:
    truth = context.parameters.get(TRUTH)
    if isinstance(truth, bool) or not isinstance(truth, int | float):
        raise InvalidRequest(
            f"parameter {TRUTH!r} must be a number, the true value of the rows: similarity with "
            "task regression compares how far they are off"
        )
    return float(truth)


def _classes(y: Array, scores: Any) -> Array:
    if scores.ndim != 2 or y.ndim != 1 or y.dtype.kind not in "iub":
        raise CannotLoad(
            f"task classification needs scores [rows, classes] and whole numbers y [rows], not "
            f"scores {list(scores.shape)} and y {y.dtype}{list(y.shape)}"
        )
    if y.min() < 0 or y.max() >= scores.shape[1]:
        raise CannotLoad(
            f"y holds {y.min()} to {y.max()}, but the network gives {scores.shape[1]} classes: "
            f"0 to {scores.shape[1] - 1}"
        )
    return y.astype(np.int64)


def _values(y: Array, scores: Any) -> Array:
    shape = tuple(scores.shape[1:])
    if y.dtype.kind not in "fiu" or y.size != len(y) * int(np.prod(shape)):
        raise CannotLoad(
            f"task regression needs numbers y of shape {[len(y), *shape]}, as the network gives "
            f"them, not {y.dtype}{list(y.shape)}"
        )
    return y.reshape(len(y), *shape).astype(_DTYPES[str(scores.dtype)])
