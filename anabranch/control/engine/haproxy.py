"""HAProxy as it stands in front: a launcher that mends what Serve's template has no flag for.

- The pages for statistics and metrics would be open on every interface.
- With splicing of requests, HAProxy does not notice that a client has gone once the whole request
  is there (seen with 2.8.25), so that work for nobody would go on.
- A client could take an hour to send a request. Here it must be there within ``REQUEST_S``, or fill
  HAProxy's buffer by then; only then does a replica hear of it. Nor may it stop for longer in the
  rest of a body, or in taking an answer. It may wait for one as long as that takes.
- HTTP/1.1 without Host is refused, as RFC 9112 (3.2) says.
- What HAProxy itself answers is JSON like all other errors, with the status that it means: Serve
  makes a plain 500 of everything. Only where no whole head of a request came is it a page of its
  own (2.8 takes no other there).
- So is what Serve's proxy says, in plain text, to those who may not wait for a router that sleeps.
"""

from __future__ import annotations

import stat
from http import HTTPStatus
from pathlib import Path

import orjson

from anabranch.control.engine.ports import PortBlock

BUFFER = 72 * 2**10
"""Bytes of a request that HAProxy holds: its headers must fit, and a small body does."""
REQUEST_S = 8
"""Time that a client may take to send a request, as far as it fits into the buffer, in seconds."""
IDLE_S = 600
"""Time that a client's connection may lie idle between two requests, in seconds."""

_PAGES = {
    400: "the request cannot be read: it is malformed, it stops in the middle, it has no Host, or "
    "its headers are too large",
    408: f"the request did not arrive within {REQUEST_S}s",
    502: "the replica ended before it had answered",
    503: "no replica can take the request now; try again later",
    504: "the replica did not answer in time",
}
"""Messages of the errors that HAProxy answers by itself, by HTTP status."""
_RETRY_AFTER = "retry-after: 1\r\n"
_MARK = "# anabranch"


def write_launcher(runtime: Path, binary: str, block: PortBlock) -> Path:
    """Write the launcher, which mends each configuration once before HAProxy reads it."""
    for status, message in _PAGES.items():
        _page(runtime, status).write_bytes(_response(status, message))
    script, path = runtime / "haproxy.sed", runtime / "haproxy"
    script.write_text(_edits(runtime, block))
    path.write_text(
        "#!/bin/sh\n"
        "for argument; do\n"
        '  [ "${argument##*/}" = haproxy.cfg ] || continue\n'
        f'  grep -q \'{_MARK}\' "$argument" || sed -i -f "{script}" "$argument"\n'
        "done\n"
        f'exec "{binary}" "$@"\n'
    )
    path.chmod(stat.S_IRWXU)
    return path


def _edits(runtime: Path, block: PortBlock) -> str:
    stats, metrics = block.fixed["proxy_stats"], block.fixed["proxy_metrics"]
    lines = "\\\n".join(f"    {line}" for line in _frontend(runtime))
    return (
        f"s/bind \\*:{stats}$/bind 127.0.0.1:{stats}/\n"
        f"s/bind :{metrics}$/bind 127.0.0.1:{metrics}/\n"
        "/option splice-request/d\n"
        "/^ *errorfile 50[234] /d\n"
        "/^frontend http_frontend$/,/^ *bind /{\n"
        f"/^ *bind /a\\\n{lines}\n"
        "}\n"
    )


def _frontend(runtime: Path) -> list[str]:
    """Return the lines that the frontend for HTTP gets beside those that Serve gives it."""
    return [
        _MARK,
        f"timeout http-request {REQUEST_S}s",
        f"timeout client {REQUEST_S}s",
        f"timeout http-keep-alive {IDLE_S}s",
        "option http-buffer-request",
        "http-request deny deny_status 400 if HTTP_1.1 !{ req.hdr_cnt(host) gt 0 }",
        "http-response return status 503 default-errorfiles"
        " if { status 503 } { res.hdr(content-type) -m beg text/ }",
        *(f"errorfile {status} {_page(runtime, status)}" for status in _PAGES),
    ]


def _page(runtime: Path, status: int) -> Path:
    return runtime / f"{status}.http"


def _response(status: int, message: str) -> bytes:
    body = orjson.dumps({"error": message})
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        f"{_RETRY_AFTER if status == HTTPStatus.SERVICE_UNAVAILABLE else ''}\r\n"
    )
    return head.encode() + body
