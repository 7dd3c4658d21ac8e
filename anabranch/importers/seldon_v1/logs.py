"""Loggers of units as the graph's request log."""

from __future__ import annotations

import re
from typing import Any

from anabranch.importers.fields import Fields
from anabranch.importers.seldon_v1.units.tree import PredictiveUnit
from anabranch.specs.models import LOG_SINK

_MODES = {
    "all": "requests and replies, as CloudEvents",
    "request": "the log holds replies too",
    "response": "the log holds requests too",
}


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
        destination = _destination(logger)
        if not logger.has("mode"):
            logger.mistake(f"is required ({', '.join(_MODES)})", "mode")
        mode = logger.choice("mode", _MODES)
        if unit is root or len(list(root.walk())) == 1:
            found = destination
            if mode:
                logger.reworded(f"`telemetry.requests`: {_MODES[mode]}", "mode")
        else:
            logger.left_out("the log is of the graph's requests and replies, not of one node's")
        logger.finish()
    return found


def _destination(logger: Fields) -> dict[str, Any]:
    url = logger.text("url")
    if not url:
        return {"to": "file"}
    address = url if "://" in url else f"http://{url}"
    if not re.fullmatch(LOG_SINK, address):
        logger.mistake("must be a URL such as http://host/path", "url")
        return {"to": "file"}
    logger.to_do(
        f"allow the destination: start the engine with ANABRANCH_REQUEST_LOGS={address}", "url"
    )
    return {"to": address}
