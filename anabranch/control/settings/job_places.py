"""Where jobs of the engine may read and write: below what ``ANABRANCH_JOBS`` names.

Each place is for the graphs of one namespace, or with ``*`` for all. None of two namespaces lie in
one another, so no graph's job reads or writes files of another namespace.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from anabranch.components.artefacts import uris
from anabranch.components.artefacts.kept import bundle_store
from anabranch.control.settings.destinations import climbs
from anabranch.errors import InvalidRequest
from anabranch.names import DEFAULT_NAMESPACE, PART, namespace_of

_PLACE = re.compile(r"(?P<scheme>[a-z][a-z0-9+]*)://(?P<path>[^?#\\\0]*)")
_OF_NAMESPACE = re.compile(rf"(?:(?P<namespace>{PART}|\*)\s*=\s*)?(?P<url>[^\s=].*)")
_LOCAL = "file"
_AZURE = re.compile("^(az|abfss?)://")
"""Schemes that mean the same files."""
_ACCOUNT = re.compile(r"(?<=^az://)(?:([^/@]*)@[^/]*|[^/@]*\.dfs\.core\.windows\.net/?)")
EVERY = "*"
"""Stands for all namespaces."""
EXPECTED = (
    "absolute paths and URLs such as s3://bucket/jobs, or team=s3://bucket/team for graphs of a "
    "namespace and *=/srv/rows for all, separated by commas, none within that of another namespace"
)


class JobPlace(NamedTuple):
    """A path or URL below which jobs of the graphs of a namespace, or of ``EVERY``, have files."""

    namespace: str
    url: str

    def is_for(self, graph: str) -> bool:
        """Return whether jobs of a graph may have their files here."""
        return self.namespace in (EVERY, namespace_of(graph))


def place(url: str) -> str | None:
    """Return a path or URL in the form in which it is compared; None for what may be neither.

    Paths are those of the engine's machine, absolute, and where their links lead to. All schemes
    of Azure are ``az``.
    """
    if url.startswith("/"):
        url = f"{_LOCAL}://{url}"
    found = _PLACE.fullmatch(url)
    if found is None or "::" in url or climbs(found["path"]):
        return None
    if found["scheme"] == _LOCAL:
        path = found["path"]
        return f"{_LOCAL}://{os.path.realpath(path)}" if path.startswith("/") else None
    known = found["scheme"] in bundle_store.SCHEMES
    return _AZURE.sub("az://", url).rstrip("/") if known else None


def check_place(field: str, url: str, graph: str, allowed: Iterable[JobPlace]) -> None:
    """Raise InvalidRequest for a place that is not at or below one that a graph's jobs may use."""
    asked = place(url)
    if asked is None:
        raise InvalidRequest(
            f"{field}: {uris.redacted(url)[:256]!r} is no absolute path and no URL with one of the "
            f"schemes {', '.join(bundle_store.SCHEMES)}"
        )
    known = [found for one in allowed if one.is_for(graph) and (found := place(one.url))]
    if not any(_is_below(asked, one) for one in known):
        raise InvalidRequest(
            f"{field}: {uris.redacted(url)[:256]!r} is not below what ANABRANCH_JOBS allows graphs "
            f"of the namespace {namespace_of(graph)!r}: "
            f"{', '.join(map(uris.redacted, known)) or 'nothing'}"
        )


def _is_below(asked: str, one: str) -> bool:
    return asked == one or asked.startswith(f"{one.rstrip('/')}/")


def read_places(text: str) -> tuple[JobPlace, ...]:
    """Return the places of a setting; ValueError for what is none, and for one within another."""
    found = tuple(_read(part.strip()) for part in text.split(",") if part.strip())
    for one, other in permutations(found, 2):
        if one.namespace != other.namespace and _is_below(_anywhere(one), _anywhere(other)):
            raise ValueError(one.url)
    return found


def _anywhere(one: JobPlace) -> str:
    return without_account(str(place(one.url)))


def without_account(url: str) -> str:
    """Return a path or URL without the account of Azure, which may be the one of the environment.

    All schemes of Azure are ``az``. Links are not followed.
    """
    return _ACCOUNT.sub(r"\1", _AZURE.sub("az://", url)).rstrip("/")


def _read(text: str) -> JobPlace:
    found = _OF_NAMESPACE.fullmatch(text)
    if found is None or place(found["url"]) is None:
        raise ValueError(text)
    return JobPlace(found["namespace"] or DEFAULT_NAMESPACE, found["url"])


def as_path(url: str) -> str:
    """Return a local place as a path; a URL elsewhere as it is."""
    return str(Path(url.removeprefix(f"{_LOCAL}://"))) if url.startswith(f"{_LOCAL}://") else url
