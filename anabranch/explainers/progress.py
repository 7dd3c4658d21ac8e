"""Logs the progress of long work, such as fitting an explainer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from anabranch.explainers.model import Array

_LOG = logging.getLogger("anabranch.explainers")
_EVERY = 5.0
"""Seconds between two lines."""


class ExplanationProgress:
    """Logs the number of calls of a model, every few seconds while ``work`` lasts."""

    def __init__(self) -> None:
        self._what = ""
        self._calls = self._rows = 0
        self._began = self._told = 0.0

    @contextmanager
    def work(self, what: str) -> Iterator[None]:
        """Log the beginning, the progress and the duration of work."""
        self._what = what
        self._calls = self._rows = 0
        self._began = self._told = time.monotonic()
        _LOG.info("%s: begins", what)
        yield
        self._tell("done")
        self._what = ""

    def watched(self, predictor: Callable[..., Array]) -> Callable[..., Array]:
        """Return the function with its calls counted."""

        def counted(rows: Any) -> Array:
            answers = predictor(rows)
            if self._what:
                self._count(len(rows))
            return answers

        return counted

    def _count(self, rows: int) -> None:
        self._calls += 1
        self._rows += rows
        if time.monotonic() - self._told > _EVERY:
            self._tell("goes on")

    def _tell(self, how: str) -> None:
        self._told = time.monotonic()
        _LOG.info(
            "%s: %s after %.1f s, %d calls of the model with %d rows",
            self._what,
            how,
            self._told - self._began,
            self._calls,
            self._rows,
        )
