"""The contract of a door: its endpoints, and the form of its errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

from anabranch.access.roles import Action
from anabranch.router.errors import HttpReply
from anabranch.router.http.app import Answer
from anabranch.router.http.request import HttpRequest
from anabranch.router.inference.contract import ModelMetadata
from anabranch.specs.models import ProtocolName

Endpoint: TypeAlias = Callable[[str | None, HttpRequest], Awaitable[Answer]]
"""Answers a request to the revision of that number; without one, to the graph."""
Guarded: TypeAlias = tuple[Action, Endpoint]
"""An endpoint, and the action that its caller must be allowed."""
Methods: TypeAlias = Mapping[str, Guarded]
"""Guarded endpoints by HTTP method."""


VERSION = "/versions/{version}"
"""Part of a path in which the number of a revision stands."""


class Door(Protocol):
    """One protocol of one graph. It answers only while the stable revision names its protocol."""

    protocol: ProtocolName

    @property
    def paths(self) -> Mapping[str, Methods]:
        """Methods by whole path, such as ``/v1/models/digits:predict``.

        In a path with ``VERSION`` the number of a revision stands for ``{version}``.
        """

    def openapi(self, metadata: ModelMetadata) -> Mapping[str, Any]:
        """Return the paths of this protocol as OpenAPI has them, for the graph of the metadata."""

    @property
    def words(self) -> Mapping[str, Methods]:
        """Methods by path below ``/v2/models/<graph>[/versions/<N>]``, such as ``/predict``."""


ErrorForm: TypeAlias = Callable[[Exception, str], HttpReply]
"""Makes the response to an error, given the id of its request."""
