"""Lengths of texts in tokens: what a model takes, and what a request may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anabranch.components.runtimes.huggingface.loading import PipelineParts
from anabranch.errors import InvalidRequest

UNKNOWN = 10**6
"""A tokenizer that does not know its model's limit says at least so many tokens."""


def limit_of(parts: PipelineParts) -> int | None:
    """Return the most tokens that the tokenizer allows and the model takes; None: any number."""
    known = [parts.tokenizer.model_max_length, _positions(parts.model)]
    limits = [limit for limit in known if limit is not None and 0 < limit < UNKNOWN]
    return min(limits, default=None)


def _positions(model: Any) -> int | None:
    """Return the number of positions that a model has learned; None where it has no such table.

    RoBERTa and its kin count from behind the number of the padding token.
    """
    found: int | None = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    embeddings = getattr(getattr(model, "base_model", None), "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    return found if found is None or padding is None else found - padding - 1


def lengths(parts: PipelineParts, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text; InvalidRequest for one that has none."""
    found = [len(tokens) for tokens in parts.tokenizer(list(texts), verbose=False)["input_ids"]]
    if 0 in found:
        raise InvalidRequest(f"text {found.index(0)} is empty: it has no tokens")
    return found


def check_lengths(parts: PipelineParts, texts: Sequence[str], room: int = 0) -> list[int]:
    """Return the number of tokens of each text.

    InvalidRequest for a text without tokens, and for one after which the model has no ``room``.
    """
    found, limit = lengths(parts, texts), limit_of(parts)
    for index, length in enumerate(found):
        check_room(length, limit, room, index)
    return found


def check_room(length: int, limit: int | None, room: int = 1, index: int = 0) -> None:
    """Raise InvalidRequest for a text without tokens, and for one that leaves no ``room``."""
    if not length:
        raise InvalidRequest(f"text {index} is empty: it has no tokens")
    if limit is not None and length + room > limit:
        more = f", and {room} more is to follow" if room else ""
        raise InvalidRequest(
            f"text {index} has {length} tokens{more}; the model takes {limit} in all"
        )
