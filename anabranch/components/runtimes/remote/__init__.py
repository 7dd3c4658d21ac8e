"""Models on other servers that speak protocols in JSON: V1, and Seldon Core's own."""

from __future__ import annotations

from anabranch.components.runtimes.remote.seldon import SeldonService
from anabranch.components.runtimes.remote.v1 import V1Model

__all__ = ["SeldonService", "V1Model"]
