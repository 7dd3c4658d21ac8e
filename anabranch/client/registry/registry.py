"""The calls of a registry for one repository, by the OCI Distribution Specification 1.1.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md. Tokens are got as
https://distribution.github.io/distribution/spec/auth/token/ has it. What comes is checked by its
digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Self
from urllib.parse import urljoin, urlsplit

import httpx

from anabranch.client.registry.credentials import RegistryLogin, login_of
from anabranch.client.registry.references import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    MAX_MANIFEST,
    ImageReference,
)
from anabranch.errors import (
    AnabranchError,
    Forbidden,
    InvalidRequest,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unavailable,
)

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_CHUNK = 2**20
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
"""OpenSSL's word for a certificate that is not known, or of another name."""
_CHALLENGE = re.compile(r'([a-z]+)="([^"]*)"')
_ERRORS: Mapping[int, type[AnabranchError]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    413: TooLarge,
    429: TooManyRequests,
}

Json = dict[str, Any]
Pieces = Callable[[], Iterator[bytes]]


class RegistryClient:
    """One repository of a registry. Use it as a context manager.

    A registry on loopback may do without TLS. Methods raise NotFound, Forbidden, TooLarge,
    TooManyRequests, InvalidRequest in the words of the registry, or Unavailable.
    """

    def __init__(self, reference: ImageReference) -> None:
        self._reference = reference
        self._insecure = reference.is_loopback and _is_plain(reference.host)
        scheme = "http" if self._insecure else "https"
        self._base = f"{scheme}://{reference.host}/v2/{reference.name}/"
        self._authorization = ""
        self._http = httpx.Client(timeout=_TIMEOUT, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def manifest(self, wanted: str) -> bytes:
        """Return the manifest of a tag or digest, checked by the digest if that is given."""
        accept = {"accept": f"{MANIFEST_TYPE}, {INDEX_TYPE}"}
        with self._call("GET", f"manifests/{wanted}", headers=accept) as reply:
            content = bytearray()
            for piece in reply.iter_bytes():
                content += piece
                if len(content) > MAX_MANIFEST:
                    raise TooLarge(f"{self._named(wanted)} is over {MAX_MANIFEST} bytes")
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if wanted.startswith("sha256:") and found != wanted:
            raise InvalidRequest(f"{self._named(wanted)} came with the digest {found}")
        return bytes(content)

    def put_manifest(self, wanted: str, content: bytes, kind: str = MANIFEST_TYPE) -> bool:
        """Put a manifest under a tag or its digest; return whether referrers are known by it."""
        headers = {"content-type": kind}
        call = self._call("PUT", f"manifests/{wanted}", headers=headers, content=content)
        with call as reply:
            return "oci-subject" in reply.headers

    def has_blob(self, digest: str) -> bool:
        """Return whether the repository has a blob."""
        try:
            with self._call("HEAD", f"blobs/{digest}"):
                return True
        except NotFound:
            return False

    def put_blob(self, digest: str, size: int, pieces: Pieces) -> None:
        """Upload a blob of ``size`` bytes, whose pieces may be asked for again."""
        with self._call("POST", "blobs/uploads/") as reply:
            place = urljoin(str(reply.url), reply.headers.get("location", ""))
        query = f"{'&' if '?' in place else '?'}digest={digest}"
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        with self._call("PUT", place + query, headers=headers, pieces=pieces):
            pass

    def get_blob(self, digest: str, size: int, target: IO[bytes]) -> None:
        """Write a blob to a file; InvalidRequest where it is another one than its digest says."""
        total, came = hashlib.sha256(), 0
        with self._call("GET", f"blobs/{digest}") as reply:
            for piece in reply.iter_bytes(_CHUNK):
                came += len(piece)
                if came > size:
                    break
                total.update(piece)
                target.write(piece)
        if came != size or f"sha256:{total.hexdigest()}" != digest:
            raise InvalidRequest(
                f"{self._named(digest)} came with {came} bytes and the digest "
                f"sha256:{total.hexdigest()}, {size} bytes were announced"
            )

    def referrers(self, digest: str) -> list[Json]:
        """Return the descriptors of the manifests that refer to one, by its digest."""
        try:
            with self._call("GET", f"referrers/{digest}") as reply:
                content = reply.read()
        except NotFound:
            content = self._referrers_by_tag(digest)
        return _manifests(content)

    def put_referrer(self, digest: str, subject: str, content: bytes, described: Json) -> None:
        """Put a manifest that refers to ``subject``; ``described`` is its descriptor.

        A registry that does not know referrers gets an index of them under a tag, as the
        specification has it.
        """
        if self.put_manifest(digest, content):
            return
        known = _manifests(self._referrers_by_tag(subject))
        if all(one["digest"] != digest for one in known):
            index = {
                "schemaVersion": 2,
                "mediaType": INDEX_TYPE,
                "manifests": [*known, described],
            }
            self.put_manifest(_tag_of(subject), json.dumps(index).encode(), INDEX_TYPE)

    def _referrers_by_tag(self, digest: str) -> bytes:
        try:
            return self.manifest(_tag_of(digest))
        except NotFound:
            return b'{"manifests":[]}'

    @contextmanager
    def _call(
        self, method: str, place: str, pieces: Pieces | None = None, **options: Any
    ) -> Iterator[httpx.Response]:
        """Send a request, with a token where one is asked for, and yield the reply."""
        url = urljoin(self._base, place)
        if not self._insecure and urlsplit(url).scheme != "https":
            raise InvalidRequest(f"{self._reference.host} leads to {url[:200]!r}, without TLS")
        try:
            reply = self._sent(method, url, pieces, options)
            if reply.status_code == 401 and (challenge := _challenge(reply)):
                reply.close()
                self._authorization = self._answer(*challenge, method)
                reply = self._sent(method, url, pieces, options)
            try:
                self._check(reply, place)
                yield reply
            finally:
                reply.close()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"the registry {self._reference.host} does not answer "
                f"({type(error).__name__}: {str(error)[:300]})"
            ) from None

    def _sent(
        self, method: str, url: str, pieces: Pieces | None, options: Mapping[str, Any]
    ) -> httpx.Response:
        headers = dict(options.get("headers", {}))
        if self._authorization and urlsplit(url).netloc == self._reference.host:
            headers["authorization"] = self._authorization
        content = options.get("content") if pieces is None else pieces()
        request = self._http.build_request(method, url, headers=headers, content=content)
        return self._http.send(request, stream=True)

    def _check(self, reply: httpx.Response, place: str) -> None:
        if not reply.is_error:
            return
        reply.read()
        kind = _ERRORS.get(reply.status_code, InvalidRequest)
        if reply.is_server_error:
            kind = Unavailable
        said = _said(reply)
        login = "" if reply.status_code not in (401, 403) else "; `docker login` keeps logins"
        raise kind(f"{self._named(place)}: the registry answers {reply.status_code}{said}{login}")

    def _answer(self, kind: str, fields: Mapping[str, str], method: str) -> str:
        """Return what to send to a registry that asks who is there."""
        login = login_of(self._reference.host)
        if kind == "basic":
            if login is None:
                raise Forbidden(
                    f"the registry {self._reference.host} asks for a login: `docker login` or "
                    "`podman login --authfile ~/.docker/config.json` keeps one"
                )
            return _basic(login)
        realm = fields.get("realm", "")
        if not self._insecure and urlsplit(realm).scheme != "https":
            raise InvalidRequest(f"{self._reference.host} gives tokens at {realm!r}, without TLS")
        actions = "pull" if method in ("GET", "HEAD") else "pull,push"
        query = {
            "service": fields.get("service", ""),
            "scope": f"repository:{self._reference.name}:{actions}",
        }
        headers = {} if login is None else {"authorization": _basic(login)}
        reply = self._http.get(realm, params=query, headers=headers)
        if reply.is_error:
            raise Forbidden(
                f"the registry {self._reference.host} gives no token for "
                f"{self._reference.name}: {reply.status_code}{_said(reply)}"
            )
        return f"Bearer {_token(reply)}"

    def _named(self, place: str) -> str:
        return f"oci://{self._reference.host}/{self._reference.name} {place}"[:400]


def _is_plain(host: str) -> bool:
    """Tell whether a server on this machine speaks no TLS."""
    try:
        httpx.get(f"https://{host}/v2/", timeout=_TIMEOUT)
    except httpx.ConnectError as error:
        return "SSL" in str(error) and _UNTRUSTED not in str(error)
    except httpx.HTTPError:
        return False
    return False


def _tag_of(digest: str) -> str:
    return digest.replace(":", "-")


def _manifests(content: bytes) -> list[Json]:
    try:
        found = json.loads(content)["manifests"]
        return [one for one in found if isinstance(one["digest"], str)]
    except (KeyError, TypeError, ValueError):
        raise InvalidRequest("the registry lists referrers in no index") from None


def _challenge(reply: httpx.Response) -> tuple[str, dict[str, str]] | None:
    kind, _, fields = reply.headers.get("www-authenticate", "").partition(" ")
    known = kind.lower() in ("basic", "bearer")
    return (kind.lower(), dict(_CHALLENGE.findall(fields))) if known else None


def _basic(login: RegistryLogin) -> str:
    return f"Basic {b64encode(f'{login.user}:{login.password}'.encode()).decode()}"


def _token(reply: httpx.Response) -> str:
    try:
        found = reply.json()
        return str(found.get("token") or found["access_token"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Unavailable(f"{reply.url.host} answers a request for a token with none") from None


def _said(reply: httpx.Response) -> str:
    try:
        (first, *_) = reply.json()["errors"]
        return f" ({first.get('code', '')}: {first.get('message', '')})"[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
