"""Tells from a request's headers whether it comes from this machine, or from a foreign web page.

A browser on this machine can be led here by any web page. Two things keep such a page out where
no token is asked for. A name of its own that leads to loopback (DNS rebinding) shows in ``Host``,
which must be a name or address of loopback. And a request that a page of another origin makes shows
in ``Sec-Fetch-Site`` (W3C Fetch Metadata), or in ``Origin`` from browsers that do not send that.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from anabranch.router.errors import HttpReply, error_body

_OWN = frozenset({"same-origin", "none"})
"""Of the page itself, or of the user: typed, or from a bookmark."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""Headers that proxies add to the requests that they pass on."""
FOREIGN = "a web page of another origin may not ask for this"


def is_local(headers: Mapping[str, str]) -> bool:
    """Return whether a request to an engine on loopback is of this machine, and meant for it.

    What a reverse proxy passes on is not: it may come from anywhere, under any ``Host``.
    """
    return is_loopback(headers.get("host", "")) and not any(name in headers for name in _FORWARDED)


def is_loopback(host: str) -> bool:
    """Return whether a ``Host`` header, with a port or without, names the loopback interface."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if name is None or "@" in host or "/" in host:
        return False
    return name == "localhost" or _is_loopback_address(name)


def foreign(headers: Mapping[str, str]) -> HttpReply | None:
    """The refusal of a request that a page of another origin has made; None for all others."""
    return HttpReply(403, error_body(FOREIGN)) if is_foreign(headers) else None


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Return whether a page of another origin has made a request.

    Headers have names in lower case. Clients that are no browsers send none of these.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in _OWN
    if origin is None:
        return False
    return origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _is_loopback_address(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
