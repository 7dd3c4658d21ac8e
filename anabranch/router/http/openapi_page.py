"""Swagger UI for a graph, with all that it needs, so that it works without the internet."""

from __future__ import annotations

from html import escape

from anabranch.router.errors import Headers, HttpReply
from anabranch.router.http import assets

FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "init.js")
"""Files that the page loads, from below its own address."""

# Swagger UI sets styles from its script. Nothing comes from, or goes to, anywhere else.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    b"form-action 'none'"
)
_HEADERS: Headers = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_CACHED: Headers = ((b"cache-control", b"max-age=3600"),)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{below}swagger-ui.css">
</head>
<body>
<div id="swagger-ui" data-document="{document}"></div>
<script src="{below}swagger-ui-bundle.js"></script>
<script src="{below}init.js"></script>
</body>
</html>
"""


def page(title: str, is_folder: bool) -> HttpReply:
    """The page; ``is_folder`` tells that its address ends with a slash.

    Addresses in it are relative, so that it also works behind a proxy that changes paths.
    """
    below, document = ("", "../openapi.json") if is_folder else ("docs/", "openapi.json")
    text = _PAGE.format(title=escape(title), below=below, document=document)
    return HttpReply(200, text.encode(), _HEADERS)


def asset(name: str, accept: str) -> HttpReply:
    """A file of the page, compressed if an Accept-Encoding header lets it."""
    return assets.asset("http/swagger", name, accept, _CACHED)
