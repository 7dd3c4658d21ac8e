"""ONNX models by ONNX Runtime, on the CPU or a GPU: the runtime, and its execution providers."""

from __future__ import annotations

from anabranch.components.runtimes.onnx.runtime import OnnxModel

__all__ = ["OnnxModel"]
