"""The head of a request over HTTP: its method, its path and its headers."""

from __future__ import annotations

from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from anabranch.access.guard import Credentials

CLIENT_NAME, CLIENT_ADDRESS = "anabranch-client-name", "anabranch-client-address"
"""Headers of the edge: the common name in the subject of the client's verified certificate, if it
has one, and the address from which it has connected. They are believed on Unix sockets, which no
other user can reach, and on connections of the engine's nodes, which have its certificate."""
OF_CLIENT = "anabranch-client-"
"""Beginning of the names of both."""
_NAME, _ADDRESS = CLIENT_NAME.encode(), CLIENT_ADDRESS.encode()

CSRF = b"x-anabranch-csrf"
"""Header with the half of a session that belongs to the console's page; the cookie is the other."""
_KEY, _SESSION = frozenset((b"authorization",)), frozenset((b"authorization", b"cookie", CSRF))
"""Headers by which somebody shows who asks: a key, or a session."""
_SEPARATORS = {"cookie": "; "}
"""Separators between the values of a header that came several times, where it is no comma."""


class RequestHead:
    """The head of a request, from ASGI's scope; it never changes, so equal requests may share one.

    ``path`` is that below the scope's ``root_path``: servers differ in whether theirs starts so.
    ``last`` are the headers as they came; of one that came several times, the last.
    """

    __slots__ = (
        "_raw", "_rest", "address", "credentials", "headers", "last", "method", "path", "size",
        "version",
    )  # fmt: skip

    def __init__(self, scope: Mapping[str, Any]) -> None:
        raw: Collection[tuple[bytes, bytes]] = scope["headers"]
        root = scope.get("root_path")
        path: str = scope["path"]
        self.path = path.removeprefix(root.rstrip("/")) if root else path
        self.method: str = scope["method"]
        self.version: str | None = scope.get("http_version")
        self.headers = RequestHeaders(raw)
        self.last: Mapping[bytes, bytes] = dict(raw)
        authorization = self.last.get(b"authorization")
        if authorization is None and CSRF in self.last:
            authorization = _session(self.headers)
        self.credentials = Credentials(authorization, self.last.get(_NAME))
        """What the request shows of who asks."""
        self.address = self.last.get(_ADDRESS, b"").decode("latin-1")
        """Address of the client, as the edge has seen it; empty where no edge was in between."""
        self.size = sum(map(len, chain.from_iterable(raw)))
        """Bytes of the names and values of all headers."""
        self._raw = raw
        self._rest: RequestHeaders | None = None

    def without_credentials(self) -> RequestHeaders:
        """Return the headers without those that show who asks: what a graph may know of them.

        Cookies stay, which may be a sticky key, but for those of the console.
        """
        if self._rest is None:
            hidden = _SESSION if CSRF in self.last else _KEY
            shown = [one for one in self._raw if one[0] not in hidden]
            self._rest = self.headers if len(shown) == len(self._raw) else RequestHeaders(shown)
        return self._rest


class RequestHeaders(Mapping[str, str]):
    """Headers by name in lower case, decoded when first asked for: most requests never ask.

    The values of a header that came several times are one list, as RFC 9110 (5.3) says.
    """

    __slots__ = ("_decoded", "_raw", "encoded")

    def __init__(self, raw: Collection[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._decoded: dict[str, str] | None = None
        self.encoded: bytes | None = None
        """The headers as they cross to other processes, once they have."""

    def _all(self) -> dict[str, str]:
        if self._decoded is None:
            self._decoded = _decoded(self._raw)
        return self._decoded

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    # The mapping's own two look each name up by ``__getitem__``.

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def items(self) -> ItemsView[str, str]:
        """Return names and values."""
        return self._all().items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def _decoded(raw: Collection[tuple[bytes, bytes]]) -> dict[str, str]:
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    return found if len(found) == len(raw) else _joined(raw)


def _joined(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: _SEPARATORS.get(name, ", ").join(several) for name, several in values.items()}


def session_cookies(host: str) -> tuple[str, str]:
    """Return how a session's cookie is called at a host with its port: with TLS, and without.

    Browsers share cookies between the ports of a host, so the name holds the port. The prefix of
    the first (RFC 6265bis, 4.1.3.2) keeps hosts of the same site and pages without TLS from setting
    it.
    """
    port = host.rpartition(":")[2]
    name = f"anabranch-{port}" if port.isdecimal() else "anabranch"
    return f"__Host-{name}", name


def _session(headers: Mapping[str, str]) -> bytes | None:
    """Return both halves of a session as a bearer token; None without a cookie.

    Of several cookies of a name the last counts, whose path is the shortest: ours is ``/``.
    """
    found = dict(part.strip().partition("=")[::2] for part in headers.get("cookie", "").split(";"))
    for name in session_cookies(headers.get("host", "")):
        if name in found:
            csrf = headers[CSRF.decode()]
            return f"Bearer {found[name]}.{csrf}".encode("latin-1", "replace")
    return None
