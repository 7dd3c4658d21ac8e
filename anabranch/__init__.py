"""Inference graphs on Ray Serve: build, check, run and deploy them.

``Graph`` builds, loads, checks and evaluates a graph in this process; ``Context`` is the request
that a component works for; all errors derive from ``AnabranchError``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from anabranch.errors import (
    AnabranchError,
    ArtefactError,
    DeadlineExceeded,
    DeployError,
    EngineError,
    InvalidRequest,
    LoadError,
    NodeError,
    NotFound,
    Position,
    Problem,
    RequestError,
    SpecError,
    TooLarge,
    Unavailable,
)

if TYPE_CHECKING:
    from anabranch.components.contract import Context
    from anabranch.graph.builder import Graph

__all__ = [
    "AnabranchError",
    "ArtefactError",
    "Context",
    "DeadlineExceeded",
    "DeployError",
    "EngineError",
    "Graph",
    "InvalidRequest",
    "LoadError",
    "NodeError",
    "NotFound",
    "Position",
    "Problem",
    "RequestError",
    "SpecError",
    "TooLarge",
    "Unavailable",
]

_LAZY = {"Context": "anabranch.components.contract", "Graph": "anabranch.graph.builder"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'anabranch' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
