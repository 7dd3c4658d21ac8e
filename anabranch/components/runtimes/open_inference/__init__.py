"""Models on other servers that speak the Open Inference Protocol v2 over HTTP."""

from __future__ import annotations

from anabranch.components.runtimes.open_inference.runtime import OpenInferenceModel

__all__ = ["OpenInferenceModel"]
