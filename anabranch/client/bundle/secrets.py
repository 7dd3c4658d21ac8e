"""Secrets that a bundle never holds, recognised by name or by content.

A bundle is kept by the engine, copied to every replica and readable by whoever reads the engine's
home. So these are no part of it, whatever ``.anabranchignore`` says:

- the home of an engine: a folder with the engine's tokens
- settings with secrets: ``.env``, ``.env.*``, ``*.env``, ``*.env.*``
- private keys: ``*.key``, ``*.p12``, ``*.pfx``, ``*.jks``, ``*.keystore``, ``*.ppk``,
  ``id_rsa`` and the like, a file that begins with a private key in PEM, and one in ``*.pem``,
  ``*.crt``, ``*.cer``, ``*.json``, ``*.yaml`` or ``*.yml``
- credentials: ``.netrc``, ``.pgpass``, ``.pypirc``, ``.npmrc``, ``.git-credentials``,
  ``*credentials.json``, ``service-account*.json``, ``client_secret*.json``, ``kubeconfig``, and all
  below ``.aws``, ``.azure``, ``.docker``, ``.gnupg``, ``.kube``, ``.ssh`` and ``.config/gcloud``

Names are compared without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import PurePosixPath

HEAD = 64 * 2**10
"""Bytes of a file that are looked at, from its beginning."""
_SETTINGS = "a file of settings with secrets"
_KEY = "a private key"
_CREDENTIALS = "a file of credentials"
_NAMES = {
    _SETTINGS: (".env", "*.env", "*.env.*"),
    _KEY: (
        "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk",
        "id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk",
    ),
    _CREDENTIALS: (
        ".netrc", "_netrc", ".pgpass", ".pypirc", ".npmrc", ".git-credentials",
        "*credentials.json", "service-account*.json", "service_account*.json",
        "client_secret*.json", "kubeconfig", "*.kubeconfig",
    ),
}  # fmt: skip
_FOLDERS = {".aws", ".azure", ".docker", ".gnupg", ".kube", ".ssh"}
_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")
_MAY_HOLD_KEYS = (".pem", ".crt", ".cer", ".json", ".yaml", ".yml")
_OF_HOMES = (
    {"ray-token"},
    {"anabranch-login.json"},
    {"token", "store.db"},
    {"token", "engine.json"},
)
"""Files that only the home of an engine has together."""


def secret(path: PurePosixPath, head: bytes) -> str | None:
    """Return what kind of secret a file is, such as ``a private key``; None for other files.

    ``path`` is relative to the bundle, ``head`` the file's first HEAD bytes.
    """
    name, folders = path.name.lower(), [part.lower() for part in path.parts[:-1]]
    if _FOLDERS.intersection(folders) or (".config", "gcloud") in pairwise(folders):
        return _CREDENTIALS
    for what, patterns in _NAMES.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return what
    may_hold = name.endswith(_MAY_HOLD_KEYS)
    found = _PEM.search(head) if may_hold else _PEM.match(head.lstrip(b"\xef\xbb\xbf \t\r\n"))
    return _KEY if found else None


def is_home(names: Collection[str]) -> bool:
    """Return whether a folder with files of these names is the home of an engine."""
    return any(own.issubset(names) for own in _OF_HOMES)
