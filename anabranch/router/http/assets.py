"""Files of web pages that come with the package, so that these work without the internet."""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources

from anabranch.errors import NotFound
from anabranch.router.errors import Headers, HttpReply
from anabranch.router.http.compression import accepted

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
}


def asset(folder: str, name: str, accept: str, headers: Headers = ()) -> HttpReply:
    """A file of a folder below ``anabranch/router``, compressed if Accept-Encoding allows that.

    It may lie there as ``<name>.gz``. NotFound where there is none of that name.
    """
    kind = _TYPES.get(name.rpartition(".")[2])
    packed = None if kind is None or "/" in name else _packed(folder, name)
    if kind is None or packed is None:
        raise NotFound(f"the page has no file {name[:64]!r}")
    headers = (
        (b"content-type", kind),
        (b"x-content-type-options", b"nosniff"),
        (b"vary", b"accept-encoding"),
        *headers,
    )
    if accepted(accept) == "gzip":
        return HttpReply(200, packed, (*headers, (b"content-encoding", b"gzip")))
    return HttpReply(200, gzip.decompress(packed), headers)


@cache
def _packed(folder: str, name: str) -> bytes | None:
    place = resources.files("anabranch.router") / folder
    for path, pack in ((place / f"{name}.gz", bytes), (place / name, gzip.compress)):
        if path.is_file():
            return pack(path.read_bytes())
    return None
