"""Names of graphs, nodes and classes from names that other systems allow."""

from __future__ import annotations

import hashlib
import keyword
import re
from collections.abc import Iterable

from anabranch.names import DEFAULT_NAMESPACE, PATH_WORDS

_LONGEST = 63


def graph_name(name: str, namespace: str = "") -> str:
    """Return the name of a graph for an object of Kubernetes: ``namespace/name``, or ``name``.

    Letters that a graph's name may not have become ``-``; what is over 63 characters ends in eight
    digits of its digest, so that two long names stay apart.
    """
    part = _part(name)
    if namespace in ("", DEFAULT_NAMESPACE):
        return part
    return f"{_part(namespace)}/{part if part not in PATH_WORDS else f'{part}-graph'}"


def node_name(name: str, taken: Iterable[str]) -> str:
    """Return a node's name for ``name`` that is none of those ``taken``."""
    plain = re.sub(r"[^-A-Za-z0-9_]", "_", name) or "node"
    plain = plain if re.match(r"[A-Za-z_]", plain) else f"_{plain}"
    return _unused(plain, taken)


def folder_name(name: str, taken: Iterable[str]) -> str:
    """Return the name of a folder for ``name`` that is none of those ``taken``."""
    plain = re.sub(r"[^-A-Za-z0-9_]", "-", name).strip("-") or "revision"
    return _unused(plain, taken, "-")


def class_name(text: str, taken: Iterable[str]) -> str:
    """Return the name of a Python class for a text such as ``mock-classifier``."""
    words = re.findall(r"[A-Za-z0-9]+", text)
    name = "".join(word[:1].upper() + word[1:] for word in words) or "Component"
    name = name if not name[0].isdigit() else f"Component{name}"
    return _unused(name if not keyword.iskeyword(name) else f"{name}Component", taken, "")


def printable(text: str) -> str:
    """Return a text of a manifest as it can stand in a text of Python."""
    return "".join(char for char in text if char.isprintable() and char not in "\"'\\")[:200]


def _part(name: str) -> str:
    plain = re.sub(r"[^-a-z0-9]", "-", name.lower()).strip("-") or "graph"
    plain = plain if plain[0].isalpha() else f"g-{plain}"
    if len(plain) <= _LONGEST:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain[: _LONGEST - 9]}-{digest}"


def _unused(name: str, taken: Iterable[str], separator: str = "_") -> str:
    """Return the name, cut to the limit, with a number behind it if it is taken."""
    there, found, number = set(taken), name[:_LONGEST], 1
    while found in there:
        number += 1
        end = f"{separator}{number}"
        found = f"{name[: _LONGEST - len(end)]}{end}"
    return found
