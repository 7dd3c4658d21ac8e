"""Models as OpenAI's API lists them: the graphs that answer over it."""

from __future__ import annotations

from typing import Any

OWNER = "anabranch"


def model_document(graph: str, created: float) -> dict[str, Any]:
    """Return a graph as a model, as in ``openai/types/model.py``; ``created`` is in seconds."""
    return {"id": graph, "object": "model", "created": int(created), "owned_by": OWNER}


def list_document(models: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a list of models."""
    return {"object": "list", "data": models}
