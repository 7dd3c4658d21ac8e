"""Destinations that the engine may call: only those that its settings allow.

URLs come with specs and with requests to deploy, so they are checked by a grammar that leaves no
room for two readings: what a lenient parser would repair is refused.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from anabranch.errors import InvalidRequest
from anabranch.specs.models import Rollout

_URL = re.compile(
    r"(?P<scheme>https?|kafka)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"[!-\[\]-~]{1,2048}")
"""Visible ASCII without the backslash."""
_PORTS = {"http": 80, "https": 443, "kafka": 9092}
HTTP = ("http", "https")
_MOST_DECODINGS = 8


@dataclass(frozen=True)
class Destination:
    """A URL taken apart; ``path`` are its segments, empty ones at the end left out."""

    scheme: str
    host: str
    port: int
    path: tuple[str, ...]
    query: str

    def covers(self, other: Destination) -> bool:
        """Return whether ``other`` is at this scheme, host and port, and below this path."""
        place, there = (
            (self.scheme, self.host, self.port), (other.scheme, other.host, other.port),
        )  # fmt: skip
        return place == there and other.path[: len(self.path)] == self.path


def parse(url: str, schemes: Container[str] = HTTP) -> Destination | None:
    """Take a URL apart; None if it is not a plain one of ``schemes``, without user and fragment."""
    match = _URL.fullmatch(url) if _PLAIN.fullmatch(url) else None
    if match is None or match["scheme"].lower() not in schemes:
        return None
    scheme, path = match["scheme"].lower(), match["path"] or ""
    port = int(match["port"] or _PORTS[scheme])
    if not 0 < port < 65536 or climbs(path):
        return None
    segments = tuple(path.rstrip("/").split("/")[1:])
    return Destination(scheme, match["host"].lower(), port, segments, match["query"] or "")


def allowed(url: str, prefixes: Iterable[str], schemes: Container[str] = HTTP) -> bool:
    """Whether ``url`` is at or below one of the URLs in ``prefixes``, which are of ``schemes``."""
    target = parse(url, schemes)
    places = [place for prefix in prefixes if (place := parse(prefix, schemes)) is not None]
    return target is not None and any(place.covers(target) for place in places)


def shown(url: str) -> str:
    """A URL to be read by others: its query may hold a secret."""
    place, mark, _ = url.partition("?")
    return f"{place}?…" if mark else place


def check(rollout: Rollout | None, webhooks: Iterable[str], prometheus: str) -> None:
    """Refuse a rollout that would call what the settings do not allow; InvalidRequest says all."""
    problems = list(_problems(rollout, tuple(webhooks), prometheus)) if rollout else []
    if problems:
        raise InvalidRequest("; ".join(problems))


def _problems(rollout: Rollout, webhooks: tuple[str, ...], prometheus: str) -> Iterator[str]:
    called = [("webhooks", url) for url in rollout.webhooks or ()]
    called += [("gate", rollout.gate)] if rollout.gate else []
    for field, url in called:
        if not allowed(url, webhooks):
            known = ", ".join(webhooks) or "nothing"
            where = f"rollout.{field}: {url[:256]!r}"
            yield f"{where} is not below what ANABRANCH_WEBHOOKS allows: {known}"
    metrics = rollout.analysis.metrics if rollout.analysis else ()
    if not prometheus and any(metric.metric == "promql" for metric in metrics):
        what = "rollout.analysis: promql needs a Prometheus server"
        yield f"{what}; set ANABRANCH_PROMETHEUS to its URL and start the engine again"


def climbs(path: str) -> bool:
    """Return whether a path has, or decodes to, a segment that leads up or nowhere.

    For some servers ``..;x`` does too: they take what follows for a parameter.
    """
    for _ in range(_MOST_DECODINGS):
        if any(part.partition(";")[0] in (".", "..") for part in re.split(r"[/\\]", path)):
            return True
        path, before = unquote(path), path
        if path == before:
            return False
    return True
