"""The head of a request over HTTP: its method, its path and its headers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from anabranch.access.guard import Credentials

CLIENT_NAME, CLIENT_ADDRESS = "anabranch-client-name", "anabranch-client-address"
"""Headers of the edge: the common name in the subject of the client's verified certificate, if it
has one, and the address from which it has connected. They are believed on Unix sockets alone, which
no other user can reach."""
OF_CLIENT = "anabranch-client-"
"""Beginning of the names of both."""
_NAME, _ADDRESS = CLIENT_NAME.encode(), CLIENT_ADDRESS.encode()
_SEPARATORS = {"cookie": "; "}
"""Separators between the values of a header that came several times, where it is no comma."""


class RequestHead:
    """The head of a request, from ASGI's scope; it never changes, so equal requests may share one.

    ``path`` is that below the scope's ``root_path``: servers differ in whether theirs starts so.
    ``last`` are the headers as they came; of one that came several times, the last.
    """

    __slots__ = ("address", "credentials", "headers", "last", "method", "path", "size", "version")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        raw: Collection[tuple[bytes, bytes]] = scope["headers"]
        root = scope.get("root_path")
        path: str = scope["path"]
        self.path = path.removeprefix(root.rstrip("/")) if root else path
        self.method: str = scope["method"]
        self.version: str | None = scope.get("http_version")
        self.headers = RequestHeaders(raw)
        self.last: Mapping[bytes, bytes] = dict(raw)
        self.credentials = Credentials(self.last.get(b"authorization"), self.last.get(_NAME))
        """What the request shows of who asks."""
        self.address = self.last.get(_ADDRESS, b"").decode("latin-1")
        """Address of the client, as the edge has seen it; empty where no edge was in between."""
        self.size = sum(map(len, chain.from_iterable(raw)))
        """Bytes of the names and values of all headers."""


class RequestHeaders(Mapping[str, str]):
    """Headers by name in lower case, decoded when first asked for: most requests never ask.

    The values of a header that came several times are one list, as RFC 9110 (5.3) says.
    """

    __slots__ = ("_decoded", "_raw")

    def __init__(self, raw: Collection[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._decoded: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._decoded is None:
            self._decoded = _decoded(self._raw)
        return self._decoded

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

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
