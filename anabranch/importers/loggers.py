"""Loggers of Seldon Core v1 and KServe: their modes, and the destination of the request log."""

from __future__ import annotations

import re

from anabranch.importers.fields import Fields
from anabranch.specs.models import LOG_SINK

MODES = {
    "all": "requests and replies, as CloudEvents",
    "request": "the log holds replies too",
    "response": "the log holds requests too",
}
"""Modes of loggers, and what the log of the graph holds for each."""


def note_mode(logger: Fields) -> None:
    """Note the ``mode`` of a logger."""
    mode = logger.choice("mode", MODES)
    if mode:
        logger.reworded(f"`telemetry.requests`: {MODES[mode]}", "mode")


def log_destination(logger: Fields) -> dict[str, str] | None:
    """Return ``telemetry.requests`` for a logger; None, with a mistake, for a wrong URL."""
    url = logger.text("url")
    if not url:
        logger.reworded("`telemetry.requests` to files of the engine: no URL is given")
        return {"to": "file"}
    address = url if "://" in url else f"http://{url}"
    if not re.fullmatch(LOG_SINK, address):
        logger.mistake("must be a URL such as http://host/path", "url")
        return None
    said = f"start the engine with ANABRANCH_REQUEST_LOGS={address}, which allows the destination"
    logger.to_do(said, "url")
    return {"to": address}
