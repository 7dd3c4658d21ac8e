"""Loggers of units as the graph's request log."""

from __future__ import annotations

from typing import Any

from anabranch.importers.loggers import MODES, log_destination, note_mode
from anabranch.importers.seldon_v1.units.tree import PredictiveUnit


def request_log(root: PredictiveUnit) -> dict[str, Any] | None:
    """Return ``telemetry.requests`` for the loggers of a tree; None if there are none.

    The log is of the graph's own requests and replies, so that of the root is the same; a logger of
    another unit has no counterpart.
    """
    found: dict[str, Any] | None = None
    for unit in root.walk():
        if not unit.fields.has("logger"):
            continue
        logger = unit.fields.within("logger")
        if not logger.has("mode"):
            logger.mistake(f"is required ({', '.join(MODES)})", "mode")
        destination = log_destination(logger)
        if unit is root:
            found = destination
            note_mode(logger)
        else:
            logger.choice("mode", MODES)
            logger.left_out("the log is of the graph's requests and replies, not of one node's")
        logger.finish()
    return found
