"""Anchors' search with few large calls of the model instead of many small ones.

The search draws rows for several candidates, one after the other, and asks the model for each
candidate alone: a hop for each. Here the rows of all candidates are drawn first, in the same order
and hence from the same random numbers, the model is asked once, and the search goes on with what it
would have got anyway. What is found is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from anabranch.explainers.alibi.library import library

_MODULES = ("anchor_tabular", "anchor_text", "anchor_image")


@contextmanager
def joined() -> Iterator[None]:
    """Let the searches of the block join their calls; one block at a time (see ``seeding``)."""
    anchors = "alibi.explainers.anchors"
    beam = _joined(library(f"{anchors}.anchor_base").AnchorBaseBeam)
    with ExitStack() as stack:
        for name in _MODULES:
            module = library(f"{anchors}.{name}")
            stack.enter_context(_replaced(module, AnchorBaseBeam=beam))
        yield


def _joined(beam: Any) -> Any:
    class Joined(beam):  # type: ignore[misc]
        def draw_samples(self, anchors: list[Any], batch_size: int) -> Any:
            """Draw ``batch_size`` rows for each candidate, and ask the model for all at once."""
            sampler: Any = getattr(self.sample_fcn, "__self__", self.sample_fcn)
            drawn = [sampler.perturbation(self._order(one), batch_size) for one in anchors]
            labels = _labels(sampler.predictor, [rows for rows, *_ in drawn])
            turns, answers = iter(drawn), iter(labels)
            with _replaced(
                sampler,
                perturbation=lambda anchor, count: next(turns),
                predictor=lambda rows: next(answers),
            ):
                return super().draw_samples(anchors, batch_size)

        def _order(self, anchor: Any) -> tuple[int, ...]:
            order = self.state["t_order"]
            return tuple(order.get(anchor, anchor))

    return Joined


def _labels(predictor: Any, drawn: list[Any]) -> list[Any]:
    """Return the labels of several arrays of rows, of texts as lists."""
    rows = np.concatenate(drawn)
    answers = np.asarray(predictor(rows.tolist() if rows.dtype.kind == "U" else rows))
    return np.split(answers, np.cumsum([len(one) for one in drawn])[:-1])


@contextmanager
def _replaced(owner: Any, **attributes: Any) -> Iterator[None]:
    """Set attributes for the time of the block."""
    before = {name: vars(owner)[name] for name in attributes if name in vars(owner)}
    vars(owner).update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            del vars(owner)[name]
        vars(owner).update(before)
