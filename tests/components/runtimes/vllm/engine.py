"""A small engine in place of vLLM's, which needs a GPU: the classes that the runtime calls."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any


class RequestOutputKind(enum.Enum):
    CUMULATIVE, DELTA, FINAL_ONLY = range(3)


@dataclass
class StructuredOutputsParams:
    json: Any = None
    json_object: bool | None = None


@dataclass
class SamplingParams:
    output_kind: RequestOutputKind
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: Any = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] | None = None
    structured_outputs: StructuredOutputsParams | None = None

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be non-negative, got {self.temperature}.")


@dataclass
class PoolingParams:
    task: str


@dataclass
class AsyncEngineArgs:
    model: str
    runner: str
    trust_remote_code: bool
    enable_log_requests: bool
    max_model_len: int = 16
    gpu_memory_utilization: float = 0.9


class Vector(list[float]):
    """As much of a tensor as is asked for."""

    def float(self) -> Vector:
        return self

    def cpu(self) -> Vector:
        return self

    def numpy(self) -> Any:
        import numpy as np

        return np.array(self, np.float32)


@dataclass
class AsyncLLMEngine:
    """Repeats the tokens of the prompt, one at a time."""

    args: AsyncEngineArgs
    asked: list[tuple[Any, Any, str]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    is_shut_down: bool = False
    dead: bool = False

    @classmethod
    def from_engine_args(cls, args: AsyncEngineArgs) -> AsyncLLMEngine:
        if args.max_model_len < 1:
            raise ValueError(f"{args.model}: max_model_len must be positive")
        made = cls(args)
        ENGINES.append(made)
        return made

    async def generate(
        self, prompt: Any, params: SamplingParams, request_id: str
    ) -> AsyncGenerator[Any, None]:
        self.asked.append((prompt, params, request_id))
        ids = prompt["prompt_token_ids"] if isinstance(prompt, dict) else prompt.split()
        if len(ids) > self.args.max_model_len:
            raise ValueError(f"The prompt is longer than {self.args.max_model_len}")
        try:
            for number, token in enumerate(ids[: params.max_tokens], 1):
                await asyncio.sleep(0)
                is_last = number == min(len(ids), params.max_tokens)
                reason = ("stop" if number == len(ids) else "length") if is_last else None
                one = SimpleNamespace(text=f"{token} ", token_ids=[number], finish_reason=reason)
                yield SimpleNamespace(outputs=[one], prompt_token_ids=ids, finished=is_last)
        except GeneratorExit:
            self.aborted.append(request_id)
            raise

    async def encode(
        self, prompt: str, params: PoolingParams, request_id: str
    ) -> AsyncGenerator[Any, None]:
        self.asked.append((prompt, params, request_id))
        await asyncio.sleep(0)
        yield SimpleNamespace(outputs=SimpleNamespace(data=Vector([len(prompt), 1.0])))

    async def check_health(self) -> None:
        if self.dead:
            raise RuntimeError("engine is dead")

    def shutdown(self) -> None:
        self.is_shut_down = True


ENGINES: list[AsyncLLMEngine] = []
"""Those that were started."""


def modules() -> dict[str, ModuleType]:
    """The modules of vLLM that the runtime imports."""
    whole, sampling, pooling = map(ModuleType, NAMES)
    for cls in (AsyncEngineArgs, AsyncLLMEngine):
        setattr(whole, cls.__name__, cls)
    for kind in (RequestOutputKind, StructuredOutputsParams, SamplingParams):
        setattr(sampling, kind.__name__, kind)
    pooling.PoolingParams = PoolingParams  # type: ignore[attr-defined]
    return dict(zip(NAMES, (whole, sampling, pooling), strict=True))


NAMES = ("vllm", "vllm.sampling_params", "vllm.pooling_params")
