"""Inference graphs on Ray Serve: build, check, run and deploy them.

``Graph`` builds, loads, checks, evaluates and deploys a graph; ``Client`` and ``AsyncClient`` talk
to an engine, and return ``InferenceReply`` and ``DeployedRevision``; ``Context`` is the request
that a component works for; all errors derive from ``AnabranchError``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from anabranch.errors import (
    AnabranchError,
    ArtefactError,
    Conflict,
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
    StatusError,
    TooLarge,
    TooManyRequests,
    Unavailable,
)

if TYPE_CHECKING:
    from anabranch.client.clients import AsyncClient, Client
    from anabranch.client.graph import Graph
    from anabranch.client.operations import DeployedRevision
    from anabranch.client.reply import InferenceReply
    from anabranch.components.contract import Context

__all__ = [
    "AnabranchError",
    "ArtefactError",
    "AsyncClient",
    "Client",
    "Conflict",
    "Context",
    "DeadlineExceeded",
    "DeployError",
    "DeployedRevision",
    "EngineError",
    "Graph",
    "InferenceReply",
    "InvalidRequest",
    "LoadError",
    "NodeError",
    "NotFound",
    "Position",
    "Problem",
    "RequestError",
    "SpecError",
    "StatusError",
    "TooLarge",
    "TooManyRequests",
    "Unavailable",
]

_LAZY = {
    "AsyncClient": "anabranch.client.clients",
    "Client": "anabranch.client.clients",
    "Context": "anabranch.components.contract",
    "DeployedRevision": "anabranch.client.operations",
    "Graph": "anabranch.client.graph",
    "InferenceReply": "anabranch.client.reply",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'anabranch' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
