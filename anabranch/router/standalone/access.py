"""Who may ask a process with one graph: callers without a key, and those of a file of keys.

A line of the file is a name, roles with commas between, and a key or ``sha256:`` with the digest of
one, in hexadecimal; empty lines and those that begin with ``#`` say nothing::

    ada  invoker,feedback  ab_4Vf1…
    ci   caller          sha256:9f86d081…

| variable | meaning | default |
|---|---|---|
| ANABRANCH_KEYS | file of keys | none |
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from anabranch.access.identity import Identity
from anabranch.access.keys import digest_of
from anabranch.access.roles import ROLES, Grant, Role, roles_in
from anabranch.access.table import AccessTable, KnownKey
from anabranch.errors import EngineError

ON_LOOPBACK: tuple[Role, ...] = ("invoker", "feedback")
"""Roles of callers without a key where only this machine reaches the process."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_DIGEST = "sha256:"
_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][-._@A-Za-z0-9]{0,62}")
_LEAST = 16
"""Shortest key, in characters."""
_FIELDS = 3


def access_table(host: str, anonymous: str, keys: Path | None) -> AccessTable:
    """Return who may do what at the address ``host``.

    ``anonymous`` are roles with commas between, ``none``, or empty for those of the address: on
    loopback ON_LOOPBACK, elsewhere none. EngineError for a role that there is not, for a file of
    keys that cannot be read, and where nobody could ask.
    """
    known = {} if keys is None else _known(keys)
    roles = anonymous_roles(anonymous) if anonymous else ON_LOOPBACK if is_loopback(host) else ()
    if not roles and not known:
        raise EngineError(
            f"nobody may ask at {host}: give a file of keys by --keys, or have callers without a "
            "key by --anonymous invoker"
        )
    return AccessTable(1, known, tuple(Grant(role) for role in roles))


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address; EngineError for what is none."""
    try:
        return ip_address("127.0.0.1" if host == "localhost" else host).is_loopback
    except ValueError:
        raise EngineError(f"--host {host!r} is not an address such as 127.0.0.1 or ::") from None


def anonymous_roles(text: str) -> tuple[Role, ...]:
    """Return the roles that ``--anonymous`` names; EngineError for one that there is not."""
    try:
        return roles_in(text)
    except ValueError:
        raise EngineError(
            f"--anonymous {text!r} is not `none`, or roles out of {', '.join(ROLES)}"
        ) from None


def _known(path: Path) -> dict[str, KnownKey]:
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"cannot read keys from {path}: {error}") from None
    found = dict(_read(path, lines))
    if mode & _OTHERS and any(_holds_key(line) for line in lines):
        raise EngineError(
            f"{path} holds keys, and others may read it (mode {mode:04o}): `chmod 600 {path}`, or "
            f"write {_DIGEST} and the digests of the keys there"
        )
    return found


def _holds_key(line: str) -> bool:
    return not _is_empty(line) and _DIGEST not in line


def _is_empty(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _read(path: Path, lines: Iterable[str]) -> Iterable[tuple[str, KnownKey]]:
    for number, line in enumerate(lines, start=1):
        if _is_empty(line):
            continue
        try:
            yield _entry(line.split())
        except ValueError as error:  # which never holds the key
            raise EngineError(f"{path}:{number}: {error}") from None


def _entry(fields: list[str]) -> tuple[str, KnownKey]:
    if len(fields) != _FIELDS:
        raise ValueError("a line is a name, roles with commas between, and a key")
    name, roles, key = fields
    if not _NAME.fullmatch(name):
        raise ValueError("the name has other characters than letters, digits and -._@")
    try:
        grants = tuple(Grant(role) for role in roles_in(roles))
    except ValueError:
        raise ValueError(f"{roles!r} are not roles out of {', '.join(ROLES)}") from None
    return _digest(key), KnownKey(Identity("key", name, grants))


def _digest(key: str) -> str:
    if key.startswith(_DIGEST):
        found = key.removeprefix(_DIGEST).lower()
        if not _HEX.fullmatch(found):
            raise ValueError(f"{_DIGEST} is followed by 64 hexadecimal digits")
        return found
    if len(key) < _LEAST:
        raise ValueError(f"the key has less than {_LEAST} characters")
    return digest_of(key)
