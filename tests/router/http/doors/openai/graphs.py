"""Graphs that answer over OpenAI's API, made of a step, for tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from anabranch.components.contract import Context
from anabranch.graph.plan.plan import Signature
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.specs.models import InputSpec, TensorSpec
from tests.router.conftest import Step, StepHead, make_table

Types = Mapping[str, tuple[str, tuple[int, ...]]]

MESSAGES: Types = {"messages": ("BYTES", (1,))}
PROMPT: Types = {"prompt": ("BYTES", (1,))}
TEXT: Types = {"text": ("BYTES", (1,))}
COUNTED: Types = {
    **TEXT,
    "finish_reason": ("BYTES", (1,)),
    "prompt_tokens": ("INT64", (1,)),
    "completion_tokens": ("INT64", (1,)),
}
VECTORS: Types = {"embedding": ("FP32", (-1, 4)), "prompt_tokens": ("INT64", (-1,))}


def signature(inputs: Types, outputs: Types, **more: Any) -> Signature:
    return Signature(
        {name: InputSpec(datatype=kind, shape=shape) for name, (kind, shape) in inputs.items()},
        {name: TensorSpec(datatype=kind, shape=shape) for name, (kind, shape) in outputs.items()},
        60.0,
        **{"protocols": ("openai",), **more},
    )


def language_arms(
    step: Step,
    inputs: Types = MESSAGES,
    outputs: Types = TEXT,
    limits: RequestLimits | None = None,
    graph: str = "demo",
    **more: Any,
) -> Arms:
    """A graph of one revision, 3, that takes and gives texts."""
    arms = Arms(graph, lambda revision: StepHead(step), limits or RequestLimits())
    table = make_table(revisions={3: signature(inputs, outputs, **more)})
    arms.apply(replace(table, graph=graph))
    return arms


def text(value: str) -> Any:
    return np.array([value], object)


def last_message(inputs: Mapping[str, Any]) -> str:
    return str(json.loads(inputs["messages"].item())[-1]["content"])


async def echo(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Say the last message again; a word is a token."""
    words = last_message(inputs).split()
    return {
        "text": text(" ".join(words)),
        "finish_reason": text("length" if len(words) > 3 else "stop"),
        "prompt_tokens": np.array([len(words) + 2]),
        "completion_tokens": np.array([len(words)]),
    }


async def spell(
    inputs: Mapping[str, Any], context: Context
) -> AsyncGenerator[dict[str, Any], None]:
    """Stream the last message, letter by letter."""
    letters = last_message(inputs)
    for at, letter in enumerate(letters, 1):
        await asyncio.sleep(0)
        yield {
            "text": text(letter),
            "finish_reason": text("length" if at == len(letters) else ""),
            "prompt_tokens": np.array([7]),
            "completion_tokens": np.array([at]),
        }


async def complete(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    (prompt,) = inputs.values()
    return {"text": np.array([f"{one}!" for one in prompt.ravel()], object)}


async def embed(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    (texts,) = inputs.values()
    flat = [str(one) for one in texts.ravel()]
    rows = np.array([[len(one), 3.0, 4.0, 0.0] for one in flat], np.float32)
    return {"embedding": rows, "prompt_tokens": np.array([len(one.split()) for one in flat])}
