"""Tasks of Hugging Face models: one entry for each in ``TASKS``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from anabranch.components.contract import DEFAULT_OUTPUT
from anabranch.components.runtimes.huggingface.lengths import (
    UNKNOWN,
    check_lengths,
    lengths,
    limit_of,
)
from anabranch.components.runtimes.huggingface.loading import PipelineParts
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.texts import filled
from anabranch.components.tensors.types import Args, Types
from anabranch.errors import InvalidRequest
from anabranch.specs.models import TensorSpec

Answer: TypeAlias = Callable[..., Any]
"""From texts to an array, or a dict of arrays, with a row for each text. That of text-generation
takes the most tokens to generate, too."""

BATCH = 32
"""Most texts that a pipeline calculates at once."""
MAX_NEW = "max_new_tokens"
"""The option, and the parameter of a request, for the length of generated texts."""
MAX_NEW_TOKENS = 64
"""Length of generated texts, where ``options`` say nothing."""


@dataclass(frozen=True)
class Task:
    """A task: the class that loads its model, how it answers, and what that looks like."""

    auto: str | None
    """Class of transformers for the model; None where only the tokenizer is needed."""
    make: Callable[[PipelineParts, Mapping[str, Any]], Answer]
    """Given the model and ``options``, how texts are answered."""
    outputs: Mapping[str, tuple[str, int]]
    """Output: datatype and rank, where no ``top_k`` is asked for."""
    example: str = "warm up"
    """A text to warm up with."""

    def types(self, rows: int, args: Args) -> Types:
        """Return the types of the outputs for so many texts (-1: any number)."""
        more = 1 if (args.get("options") or {}).get("top_k") is not None else 0
        return {
            name: TensorSpec.model_validate(
                {"datatype": datatype, "shape": (rows, *[-1] * (rank - 1 + more * (rank == 1)))}
            )
            for name, (datatype, rank) in self.outputs.items()
        }


def _pipeline(parts: PipelineParts, task: str) -> Any:
    if (limit := limit_of(parts)) is not None:
        parts.tokenizer.model_max_length = limit
    made = parts.transformers.pipeline(
        task, model=parts.model, tokenizer=parts.tokenizer, device=parts.device
    )
    return lambda texts, **options: made(texts, batch_size=min(BATCH, len(texts)), **options)


def _texts(rows: Sequence[Any]) -> Array:
    return filled(rows, (len(rows),))


def _ranked(rows: list[Any], name: str, field: str, single: bool) -> dict[str, Any]:
    """Return the best answers of each text as tensors: [rows], or [rows, k] where k are wanted."""
    if single:
        labels = [row[field] for row in rows]
        scores = [row["score"] for row in rows]
    else:
        labels = [[one[field] for one in row] for row in rows]
        scores = [[one["score"] for one in row] for row in rows]
    return {name: np.array(labels, object), "scores": np.array(scores, np.float32)}


def _classify(parts: PipelineParts, options: Mapping[str, Any]) -> Answer:
    run, single = _pipeline(parts, "text-classification"), options.get("top_k") is None
    wanted = {"truncation": limit_of(parts) is not None, **options}
    return lambda texts: _ranked(run(texts, **wanted), "labels", "label", single)


def _classify_tokens(parts: PipelineParts, options: Mapping[str, Any]) -> Answer:
    run = _pipeline(parts, "token-classification")

    def answer(texts: list[str]) -> Any:
        return _texts([json.dumps(row, default=float) for row in run(texts, **options)])

    return answer


def _fill(parts: PipelineParts, options: Mapping[str, Any]) -> Answer:
    run, single = _pipeline(parts, "fill-mask"), options.get("top_k") is None
    mask, wanted = parts.tokenizer.mask_token, {"top_k": 1, **options}

    def answer(texts: list[str]) -> Any:
        for text in texts:
            if text.count(mask) != 1:
                raise InvalidRequest(f"each text needs exactly one {mask}")
        check_lengths(parts, texts)
        found = run(texts, **wanted)
        rows = [found] if len(texts) == 1 and isinstance(found[0], dict) else found
        best = [row[0] for row in rows] if single else rows
        return _ranked(best, "tokens", "token_str", single)

    return answer


def _choose(parts: PipelineParts, options: Mapping[str, Any]) -> Answer:
    run, labels = _pipeline(parts, "zero-shot-classification"), options["candidate_labels"]

    def answer(texts: list[str]) -> Any:
        found = [
            dict(zip(row["labels"], row["scores"], strict=True)) for row in run(texts, **options)
        ]
        return np.array([[row[label] for label in labels] for row in found], np.float32)

    return answer


def _generate(parts: PipelineParts, options: Mapping[str, Any]) -> Answer:
    run = _pipeline(parts, "text-generation")
    parts.tokenizer.padding_side = "left"
    wanted = {"max_new_tokens": MAX_NEW_TOKENS, "return_full_text": False, **options}
    limit = limit_of(parts)

    def generated(texts: list[str], tokens: int) -> list[str]:
        return [row[0]["generated_text"] for row in run(texts, **wanted | {MAX_NEW: tokens})]

    def answer(texts: list[str], most: int | None = None) -> Any:
        """Continue each text with at most ``most`` tokens, and never more than the model takes."""
        found, bound = check_lengths(parts, texts, room=1), min(wanted[MAX_NEW], most or UNKNOWN)
        if limit is None or max(found) + bound <= limit:
            return _texts(generated(texts, bound))
        rooms = [min(bound, limit - length) for length in found]
        return _texts([generated([text], room)[0] for text, room in zip(texts, rooms, strict=True)])

    return answer


def _encoded(
    parts: PipelineParts, texts: list[str], options: Mapping[str, Any], **more: Any
) -> Any:
    """Return the texts as tokens, cut to what the model takes and filled up to the longest."""
    bounds = {} if (limit := limit_of(parts)) is None else {"truncation": True, "max_length": limit}
    return parts.tokenizer(texts, padding=True, **{**bounds, **options}, **more)


def _tokenize(parts: PipelineParts, options: Mapping[str, Any]) -> Answer:
    def answer(texts: list[str]) -> Any:
        found = _encoded(parts, texts, options, return_tensors="np")
        names = ("input_ids", "attention_mask")
        return {name: found[name].astype(np.int64) for name in names}

    return answer


def _embed(parts: PipelineParts, options: Mapping[str, Any]) -> Answer:
    """Return the mean of the last hidden states of a text's tokens."""

    def answer(texts: list[str]) -> Any:
        lengths(parts, texts)
        found = _encoded(parts, texts, options, return_tensors="pt").to(parts.device)
        with parts.torch.inference_mode():
            states = parts.model(**found).last_hidden_state
            mask = found["attention_mask"].unsqueeze(-1)
            means = (states * mask).sum(1) / mask.sum(1)
        return means.float().cpu().numpy()

    return answer


TASKS: dict[str, Task] = {
    "text-classification": Task(
        "AutoModelForSequenceClassification",
        _classify,
        {"labels": ("BYTES", 1), "scores": ("FP32", 1)},
    ),
    "token-classification": Task(
        "AutoModelForTokenClassification", _classify_tokens, {DEFAULT_OUTPUT: ("BYTES", 1)}
    ),
    "fill-mask": Task(
        "AutoModelForMaskedLM", _fill, {"tokens": ("BYTES", 1), "scores": ("FP32", 1)}
    ),
    "zero-shot-classification": Task(
        "AutoModelForSequenceClassification", _choose, {DEFAULT_OUTPUT: ("FP32", 2)}
    ),
    "text-generation": Task("AutoModelForCausalLM", _generate, {DEFAULT_OUTPUT: ("BYTES", 1)}),
    "chat": Task("AutoModelForCausalLM", _generate, {}),
    "feature-extraction": Task("AutoModel", _embed, {DEFAULT_OUTPUT: ("FP32", 2)}),
    "tokenize": Task(None, _tokenize, {"input_ids": ("INT64", 2), "attention_mask": ("INT64", 2)}),
}
