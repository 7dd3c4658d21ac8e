"""Language models behind the API of OpenAI, on this machine or elsewhere."""

from __future__ import annotations

from anabranch.components.runtimes.openai.runtime import OpenAIModel

__all__ = ["OpenAIModel"]
