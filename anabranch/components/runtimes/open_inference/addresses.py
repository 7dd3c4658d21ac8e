"""URLs of servers that nodes call, as specs may have them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from anabranch.errors import Mistake
from anabranch.specs.excerpts import shown
from anabranch.specs.models import Predictor

_PREFIX, _WHOLE = "[/prefix]", "[/path][?query]"


def is_url(url: str, *, is_whole: bool = False) -> bool:
    """Return whether a URL is http or https, with a host, and no user or fragment.

    One that is asked as it stands, ``is_whole``, may have a query.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    extra = parts.username or parts.password or parts.fragment or (parts.query and not is_whole)
    is_text = url.isprintable() and " " not in url
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and not extra
        and port != 0
        and is_text
    )


def address_mistakes(
    node: Predictor, args: str = "url: …", *, is_whole: bool = False
) -> Iterator[Mistake]:
    """Find a model that is no argument, and a URL that is none; ``args`` are those to give."""
    if node.model is not None:
        yield ("model",), f"the runtime {node.runtime!r} takes args: {{{args}}} instead"
    url = str(node.args["url"])
    if not is_url(url, is_whole=is_whole):
        form = f"http(s)://host[:port]{_WHOLE if is_whole else _PREFIX}"
        yield ("args", "url"), f"{shown(url)} is not of the form {form}"
