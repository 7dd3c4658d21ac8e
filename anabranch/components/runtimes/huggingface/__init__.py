"""Hugging Face models and tokenizers from a local folder."""

from __future__ import annotations

from anabranch.components.runtimes.huggingface.runtime import HuggingfaceModel

__all__ = ["HuggingfaceModel"]
