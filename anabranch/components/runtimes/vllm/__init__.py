"""Language models on GPUs by vLLM."""

from __future__ import annotations

from anabranch.components.runtimes.vllm.runtime import VllmModel

__all__ = ["VllmModel"]
