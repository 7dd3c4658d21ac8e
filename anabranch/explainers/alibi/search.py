"""Anchors' search, with few large calls of the model, and a precision that holds.

**Calls.** The search draws rows for several candidates, one after the other, and asks the model for
each candidate alone: a hop for each. Here the rows of all candidates are drawn first, in the same
order and hence from the same random numbers, the model is asked once, and the search goes on with
what it would have got anyway. What is found is the same to the last bit.

**Precision.** The search judges a candidate with one condition more than another by the rows that
were drawn for the other and happen to follow the condition. In these, the features still depend on
each other as they do in the sample, which they do not in rows that are drawn for the candidate
itself. So the precision that it claims may be far above that on fresh rows (on breast cancer
0.95 against 0.6). ``precision`` draws fresh ones; ``resample`` lets the search itself do without
the others' rows, which takes up to three times the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from anabranch.explainers.alibi.library import library

MOST = 4_000_000
"""Most numbers in the rows of one call that measures precision."""
_MODULES = ("anchor_tabular", "anchor_text", "anchor_image")


@contextmanager
def searching(*, resample: bool) -> Iterator[list[Any]]:
    """Let the searches of the block be as told above; yields the list of them.

    One block at a time: it puts a class of its own into Alibi's modules (see ``seeding``).
    """
    anchors = "alibi.explainers.anchors"
    searches: list[Any] = []
    beam = _beam(library(f"{anchors}.anchor_base").AnchorBaseBeam, searches, resample=resample)
    with ExitStack() as stack:
        for name in _MODULES:
            module = library(f"{anchors}.{name}")
            stack.enter_context(_replaced(module, AnchorBaseBeam=beam))
        yield searches


def _beam(base: Any, searches: list[Any], *, resample: bool) -> Any:
    class Beam(base):  # type: ignore[misc]
        chosen: tuple[int, ...] = ()
        """Conditions of the rule that was found, in the order that rows are drawn by."""

        def __init__(self, samplers: list[Any], **options: Any) -> None:
            super().__init__(samplers, **options)
            searches.append(self)

        @property
        def sampler(self) -> Any:
            return getattr(self.sample_fcn, "__self__", self.sample_fcn)

        def draw_samples(self, anchors: list[Any], batch_size: int) -> Any:
            """Draw ``batch_size`` rows for each candidate, and ask the model for all at once."""
            drawn = [self.sampler.perturbation(self.order(one), batch_size) for one in anchors]
            labels = _labels(self.sampler, [rows for rows, *_ in drawn])
            turns, answers = iter(drawn), iter(labels)
            with _replaced(
                self.sampler,
                perturbation=lambda anchor, count: next(turns),
                predictor=lambda rows: next(answers),
            ):
                return super().draw_samples(anchors, batch_size)

        def propose_anchors(self, previous_best: list[Any]) -> Any:
            """Return the next candidates, with or without the rows that others have drawn."""
            found = super().propose_anchors(previous_best)
            for one in found if resample else ():
                self.state["t_idx"][one] = set()
                self.state["t_nsamples"][one] = self.state["t_positives"][one] = 0.0
            return found

        def get_anchor_metadata(self, features: Any, success: Any, batch_size: int = 100) -> Any:
            """Return what Alibi says of the rule, and remember it."""
            self.chosen = self.order(features)
            return super().get_anchor_metadata(features, success, batch_size=batch_size)

        def precision(self, count: int, batch_size: int) -> float:
            """Return the share of ``count`` fresh rows that get the class of the explained one.

            They are drawn in batches, as in the search, since what is drawn depends on their size.
            """
            agreeing, drawn = 0, []
            for start in range(0, count, batch_size):
                drawn.append(
                    self.sampler.perturbation(self.chosen, min(batch_size, count - start))[0]
                )
                if sum(rows.size for rows in drawn) > MOST or start + batch_size >= count:
                    labels = np.concatenate(_labels(self.sampler, drawn))
                    agreeing += int(np.sum(labels == self.sampler.instance_label))
                    drawn = []
            return agreeing / count

        def order(self, anchor: Any) -> tuple[int, ...]:
            return tuple(self.state["t_order"].get(anchor, anchor))

    return Beam


def _labels(sampler: Any, drawn: list[Any]) -> list[Any]:
    """Return the labels of several arrays of rows, of texts as lists."""
    rows = np.concatenate(drawn)
    answers = np.asarray(sampler.predictor(rows.tolist() if rows.dtype.kind == "U" else rows))
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
