"""Which certificates the edge has: the files that it was given, and where their copies are.

| variable | meaning | default |
|---|---|---|
| ANABRANCH_TLS_CERT, ANABRANCH_TLS_KEY | files of the edge's certificate chain and key | none |
| ANABRANCH_CLIENT_CA | file of the authorities of clients' certificates | none |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from anabranch.environment import Environment
from anabranch.errors import EngineError
from anabranch.serve.edge.tls.certificates import TlsFiles
from anabranch.serve.edge.tls.in_force import InForce, in_force_at
from anabranch.serve.own_port import TLS

CERT, KEY, CLIENT_CA = TLS, "ANABRANCH_TLS_KEY", "ANABRANCH_CLIENT_CA"
_OPTIONS = {CERT: "--tls-cert", KEY: "--tls-key", CLIENT_CA: "--client-ca"}


def tls_files(env: Mapping[str, str] = os.environ) -> TlsFiles | None:
    """Return the files that are named, None for none; EngineError where one lacks another."""
    found = {name: _path(env, name) for name in _OPTIONS}
    cert, key = found[CERT], found[KEY]
    if cert is None or key is None:
        named = [name for name, path in found.items() if path is not None]
        if not named:
            return None
        missing = [_shown(name) for name in (CERT, KEY) if found[name] is None]
        raise EngineError(f"{_shown(named[0])} needs {' and '.join(missing)} as well")
    return TlsFiles(cert, key, found[CLIENT_CA])


def tls_environment(files: TlsFiles | None) -> dict[str, str]:
    """Return the variables from which ``tls_files`` reads these files."""
    paths = (None,) * 3 if files is None else (files.cert, files.key, files.client_ca)
    return {name: str(path or "") for name, path in zip(_OPTIONS, paths, strict=True)}


def in_force(home: Path, files: TlsFiles | None = None) -> InForce:
    """Return the copies in a home; for those who write them, of these files."""
    return in_force_at(home, files is not None and files.client_ca is not None)


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = Environment(env).text(name)
    return Path(text).expanduser().absolute() if text else None


def _shown(name: str) -> str:
    return f"{_OPTIONS[name]} (or {name})"
