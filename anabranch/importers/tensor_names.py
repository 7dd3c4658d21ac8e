"""Names of tensors and parameters from names that other systems allow."""

from __future__ import annotations

import re

from anabranch.components.runtimes.signatures import plain

_LONGEST = 127


def tensor_name(name: str) -> str:
    """Return the name of an input or output of a graph, which may hold dashes, colons, slashes."""
    if re.fullmatch(r"[A-Za-z_][-A-Za-z0-9_:/]*", name):
        return name[:_LONGEST]
    return plain(name)[:_LONGEST]


def parameter_name(name: str) -> str:
    """Return the name of a node's parameter, as runtimes write the names of a model's tensors."""
    return plain(name)[:_LONGEST]
