"""Files over HTTP and HTTPS.

Ranges, ETag and If-Range are those of RFC 9110. A strong ETag or a Last-Modified is a file's mark;
only with one is a transfer resumed, and the server is asked to send the whole file where the mark
does not hold any more.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TypeAlias

import httpx

from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import (
    ArtefactSource,
    Read,
    RemoteFile,
    Stream,
    TransferInterrupted,
)
from anabranch.components.artefacts.uris import filename, redacted
from anabranch.components.peers import problem_of
from anabranch.errors import ArtefactError

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
"""Longest silence, in seconds."""
_MOST_REDIRECTS = 5
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which another try may help."""

Headers: TypeAlias = Mapping[str, str]


def open_source(uri: str, settings: ArtefactSettings) -> ArtefactSource:
    """List the one file that a URL means, by asking for its first byte."""
    return ArtefactSource([probe(uri, filename(uri))], reader({filename(uri): uri}))


def probe(url: str, path: str, headers: Headers | None = None) -> RemoteFile:
    """Return size and mark of the file at ``url``, as far as the server tells."""
    with _get(url, {**(headers or {}), "range": "bytes=0-0"}) as response:
        if response.status_code in (206, 416):
            match = _RANGE.fullmatch(response.headers.get("content-range", ""))
            total = match[2] if match is not None else "*"
        else:
            total = response.headers.get("content-length", "*")
        size = int(total) if total.isdigit() else None
        return RemoteFile(path, size, _mark(response))


def reader(urls: Mapping[str, str], headers: Headers | None = None) -> Read:
    """Return how to read files whose URLs go by path; ``headers`` go with every request."""

    @contextmanager
    def read(file: RemoteFile, start: int) -> Iterator[Stream]:
        sent = dict(headers or {})
        if start and file.mark is not None:
            sent |= {"range": f"bytes={start}-", "if-range": file.mark}
        with _get(urls[file.path], sent) as response:
            if _mark(response) not in (None, file.mark):
                raise TransferInterrupted("it changed meanwhile")
            yield Stream(_start(response, start), response.iter_raw())

    return read


@cache
def tls() -> ssl.SSLContext:
    """Return how servers prove who they are; reading all certificates takes longer than a call."""
    return httpx.create_ssl_context()


@contextmanager
def _get(url: str, headers: Headers) -> Iterator[httpx.Response]:
    """Send a GET whose body is not read yet; maps errors and statuses to ours."""
    sent = {"accept-encoding": "identity", **headers}

    def check_peer(response: httpx.Response) -> None:
        """Look at each server on the way, those that redirect too."""
        wrong = problem_of(response, httpx.URL(url).host, direct=False)
        if wrong is not None:
            raise ArtefactError(wrong)

    try:
        with (
            httpx.Client(
                verify=tls(),
                follow_redirects=True,
                max_redirects=_MOST_REDIRECTS,
                timeout=_TIMEOUT,
                event_hooks={"response": [check_peer]},
            ) as client,
            client.stream("GET", url, headers=sent) as response,
        ):
            _check(response)
            yield response
    except httpx.TooManyRedirects:
        raise ArtefactError(f"there are over {_MOST_REDIRECTS} redirects") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ArtefactError(f"it is not a URL to fetch: {redacted(str(error))}") from None
    except httpx.HTTPError as error:
        raise TransferInterrupted(
            f"{type(error).__name__}: {redacted(str(error))}".rstrip(": ")
        ) from None


def _check(response: httpx.Response) -> None:
    hops = [*response.history, response]
    if hops[0].url.scheme == "https" and any(hop.url.scheme != "https" for hop in hops):
        raise ArtefactError("it redirects from https to http")
    status = response.status_code
    if status in _PASSING:
        raise TransferInterrupted(f"the server answers {status} {response.reason_phrase}")
    if status not in (200, 206, 416):
        raise ArtefactError(f"the server answers {status} {response.reason_phrase}")
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise ArtefactError(f"the server sends the file in the encoding {encoding[:40]!r}, unasked")


def _start(response: httpx.Response, asked: int) -> int:
    """Return the offset at which the body starts."""
    if response.status_code == 200:
        return 0
    match = _RANGE.fullmatch(response.headers.get("content-range", ""))
    if match is None or match[1] is None or int(match[1]) != asked:
        raise ArtefactError("the server sends another range than requested")
    return asked


def _mark(response: httpx.Response) -> str | None:
    tag: str = response.headers.get("etag", "")
    if tag and not tag.startswith("W/"):
        return tag
    changed: str | None = response.headers.get("last-modified")
    return changed
