"""Where jobs of the engine may read and write: below what ``ANABRANCH_JOBS`` names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from anabranch.components.artefacts import uris
from anabranch.components.artefacts.kept import bundle_store
from anabranch.control.settings.destinations import climbs
from anabranch.errors import InvalidRequest

_PLACE = re.compile(r"(?P<scheme>[a-z][a-z0-9+]*)://(?P<path>[^?#]*)")
_LOCAL = "file"
EXPECTED = "absolute paths and URLs such as s3://bucket/jobs, separated by commas"


def place(url: str) -> str | None:
    """Return a path or URL in the form in which it is compared; None for what may be neither.

    Paths are those of the engine's machine, absolute, and where their links lead to.
    """
    if url.startswith("/"):
        url = f"{_LOCAL}://{url}"
    found = _PLACE.fullmatch(url)
    if found is None or "::" in url or climbs(found["path"]) or "\\" in url:
        return None
    if found["scheme"] == _LOCAL:
        path = found["path"]
        return f"{_LOCAL}://{os.path.realpath(path)}" if path.startswith("/") else None
    return url.rstrip("/") if found["scheme"] in bundle_store.SCHEMES else None


def check_place(field: str, url: str, allowed: Iterable[str]) -> None:
    """Raise InvalidRequest for a place that is not at or below one of those that are allowed."""
    asked, known = place(url), [one for text in allowed if (one := place(text)) is not None]
    if asked is None:
        raise InvalidRequest(
            f"{field}: {uris.redacted(url)[:256]!r} is no absolute path and no URL with one of the "
            f"schemes {', '.join(bundle_store.SCHEMES)}"
        )
    if not any(asked == one or asked.startswith(f"{one.rstrip('/')}/") for one in known):
        raise InvalidRequest(
            f"{field}: {uris.redacted(url)[:256]!r} is not below what ANABRANCH_JOBS allows: "
            f"{', '.join(map(uris.redacted, known)) or 'nothing'}"
        )


def read_places(text: str) -> tuple[str, ...]:
    """Return the places of a setting, separated by commas; ValueError for one that is none."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for one in found:
        if place(one) is None:
            raise ValueError(one)
    return found


def as_path(url: str) -> str:
    """Return a local place as a path; a URL elsewhere as it is."""
    return str(Path(url.removeprefix(f"{_LOCAL}://"))) if url.startswith(f"{_LOCAL}://") else url
