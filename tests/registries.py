"""Registries on loopback: the one that Debian packages, and a small one that asks who is there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.handlers import QuietHandler
from tests.ports import free_ports
from tests.waiting import until

USER, PASSWORD = "ada", "p:w ä"
PULL, PUSH = "Bearer may-pull", "Bearer may-push"


@contextmanager
def real_registry(folder: Path) -> Iterator[str]:
    """Run the reference implementation of the specification; yield its address."""
    command = shutil.which("docker-registry")
    if command is None:
        pytest.skip("docker-registry is not installed (Debian: docker-registry)")
    (port,) = free_ports(1)
    config = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "registry.yml").write_text(json.dumps(config))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [command, "serve", str(folder / "registry.yml")], stdout=log, stderr=log
        )
    try:
        until(lambda: _answers(f"http://127.0.0.1:{port}/v2/"))
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass
class SmallRegistry:
    """A registry in memory that knows referrers; it misbehaves as it is told to."""

    asks: str = ""
    """``basic`` or ``bearer`` where it asks for a login."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    """Statuses with which it answers what begins with a method and a path."""
    scopes: list[str] = field(default_factory=list)
    """Scopes of the tokens that it was asked for."""
    token: str = "token"
    """The field of a token that it gives."""
    uploads: int = 0
    host: str = ""


@contextmanager
def small_registry(asks: str = "") -> Iterator[SmallRegistry]:
    found = SmallRegistry(asks)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found))
    server.daemon_threads = True
    found.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(registry: SmallRegistry) -> type[QuietHandler]:
    basic = f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self._answer()

        do_HEAD = do_POST = do_PUT = do_GET

        def _answer(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(size)
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            for begin, status in registry.status.items():
                if f"{self.command} {path}".startswith(begin):
                    return self._send(status, b'{"errors":[{"code":"X","message":"as told"}]}')
            if path == "/token":
                registry.scopes += query["scope"]
                is_known = self.headers.get("authorization") == basic
                token = PUSH if query["scope"][0].endswith(":pull,push") else PULL
                content = json.dumps({registry.token: token.removeprefix("Bearer ")}).encode()
                return self._send(*(200, content) if is_known else (401, b"{}"))
            if not self._may():
                return None
            what, _, rest = path.removeprefix("/v2/models/fruit/").partition("/")
            return getattr(self, f"_{what}", self._unknown)(rest, query, body)

        def _may(self) -> bool:
            told = self.headers.get("authorization", "")
            writes = self.command in ("PUT", "POST")
            is_known = {
                "": True,
                "basic": told == basic,
                "bearer": told in ([PUSH] if writes else [PULL, PUSH]),
            }
            if is_known[registry.asks]:
                return True
            realm = f'Bearer realm="http://{registry.host}/token",service="small"'
            challenge = 'Basic realm="small"' if registry.asks == "basic" else realm
            self._send(401, b"{}", {"www-authenticate": challenge})
            return False

        def _manifests(self, name: str, _: object, body: bytes) -> None:
            if self.command != "PUT":
                found = registry.manifests.get(name)
                return self._unknown() if found is None else self._send(200, found)
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            registry.manifests |= {name: body, digest: body}
            subject = json.loads(body).get("subject")
            return self._send(201, b"", {"oci-subject": subject["digest"]} if subject else {})

        def _referrers(self, digest: str, _: object, __: bytes) -> None:
            read = {name: json.loads(content) for name, content in registry.manifests.items()}
            found = [
                {"digest": name, "mediaType": "m", "size": 1, "artifactType": one["artifactType"]}
                for name, one in read.items()
                if name.startswith("sha256:") and one.get("subject", {}).get("digest") == digest
            ]
            self._send(200, json.dumps({"manifests": found}).encode())

        def _blobs(self, name: str, query: dict[str, list[str]], body: bytes) -> None:
            if self.command == "POST":
                place = "/v2/models/fruit/blobs/uploads/one?state=%2Fa"
                return self._send(202, b"", {"location": place})
            if self.command == "PUT":
                (digest,) = query["digest"]
                assert query["state"] == ["/a"]
                registry.uploads += 1
                registry.blobs[digest] = body
                return self._send(201, b"")
            found = registry.blobs.get(name)
            return self._unknown() if found is None else self._send(200, found)

        def _unknown(self, *_: object) -> None:
            self._send(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}')

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def handle_one_request(self) -> None:
            """Close at once what speaks TLS."""
            if not re.match(rb"[A-Z]", self.rfile.peek(1)[:1]):  # type: ignore[attr-defined]
                self.close_connection = True
                self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return
            super().handle_one_request()

    return Handler
