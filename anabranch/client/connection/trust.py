"""TLS of clients: by which certificates they know their engine.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_CA | authorities of engines' certificates, for commands and clients | public ones |
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any, Self, TypeAlias

from anabranch.environment import Environment
from anabranch.errors import EngineError

Authorities: TypeAlias = str | Path | ssl.SSLContext
"""A file of authorities in PEM; or a context, such as one with a certificate of the client's."""
Verify: TypeAlias = ssl.SSLContext | bool
"""What HTTPX verifies certificates by; True for the authorities that certifi knows."""
CA = "ANABRANCH_CA"
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: a certificate that is known itself is known for ever."""


class PinnedContext(ssl.SSLContext):
    """Knows a server by its very certificate, under any name, expired or not.

    ``file`` has the certificates, in PEM; it is read again before each handshake where it has
    changed. EngineError where it cannot be read.
    """

    _file: Path
    _read: tuple[int, int] | None

    def __new__(cls, file: Path) -> Self:
        """Return a context of clients; OpenSSL's own are made before ``__init__``."""
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        context._file, context._read = file, None
        return context

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Begin TLS on a socket."""
        self._renew()
        return super().wrap_socket(*args, **options)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Begin TLS in memory, for asyncio."""
        self._renew()
        return super().wrap_bio(*args, **options)

    def _renew(self) -> None:
        try:
            found = self._file.stat()
            if self._read != (found.st_ino, found.st_mtime_ns):
                self.load_verify_locations(self._file)
                self._read = found.st_ino, found.st_mtime_ns
        except OSError as error:
            raise EngineError(f"the engine's certificate {self._file}: {error}") from None


def trust(url: str, ca: Authorities | None) -> Verify:
    """Return what to verify an engine at ``url`` by: ``ca``, else the file that the variable names.

    EngineError for a file that holds no authorities.
    """
    if not url.lower().startswith("https:"):
        return False  # certificates take 20 ms to read
    named = ca or Environment(os.environ).text(CA)
    if not named:
        return True
    if isinstance(named, ssl.SSLContext):
        return named
    try:
        return ssl.create_default_context(cafile=named)
    except OSError as error:
        raise EngineError(f"cannot read certificate authorities from {named}: {error}") from None
