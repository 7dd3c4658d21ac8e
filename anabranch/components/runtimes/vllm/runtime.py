"""The runtime ``vllm``: language models on GPUs, with continuous batching.

Written against ``vllm.AsyncLLMEngine``, which is ``vllm.v1.engine.async_llm.AsyncLLM``: its methods
``from_engine_args``, ``generate``, ``encode``, ``check_health`` and ``shutdown``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal, cast
from uuid import uuid4

import numpy as np

from anabranch.components.arguments import AtLeastOne
from anabranch.components.artefacts.paths import model_path, reading
from anabranch.components.contract import CannotLoad, Context
from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.components.runtimes.completions import (
    COMPLETION_TOKENS,
    PROMPT_TOKENS,
    joined,
    output_types,
    outputs,
    vector_types,
)
from anabranch.components.runtimes.huggingface.chat import check_template, only_text, rendered
from anabranch.components.runtimes.signatures import no_method, no_model
from anabranch.components.runtimes.torch.memory import gpu_share
from anabranch.components.runtimes.vllm.sampling import sampling_fields, structure
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.texts import as_text
from anabranch.components.tensors.types import Args, Types
from anabranch.errors import InvalidRequest, Mistake
from anabranch.specs.models import Predictor

_OWN = ("model", "tokenizer", "trust_remote_code", "skip_tokenizer_init")
"""Engine arguments that the node sets itself."""
_SHARE = "gpu_memory_utilization"
"""Engine argument: the share of the GPU's memory that the engine takes."""


@register("predictor", "vllm")
class VllmModel:
    """Serves a folder of a language model on a GPU by vLLM, whose requests share batches.

    ============== ============================== ================================================
    task           input                          outputs
    ============== ============================== ================================================
    chat           the messages, as a list in     ``text``, ``finish_reason``, ``prompt_tokens``
                   JSON: BYTES [1]                and ``completion_tokens``, each of one element;
                                                  ``tool_calls``, which is always empty
    completions    the prompt: BYTES [1]          the same
    embeddings     the texts: BYTES [rows]        ``output``: FP32 [rows, dimensions]
    ============== ============================== ================================================

    The node streams; where one answer is asked for, the pieces are joined. The request parameters
    ``max_tokens``, ``temperature``, ``top_p``, ``stop``, ``seed``, ``presence_penalty``,
    ``frequency_penalty``, ``logit_bias``, ``response_format`` and ``tools`` are those of OpenAI's
    API; lists and maps are JSON text. Nothing is fetched from the hub, and no code of the folder is
    run. Needs the extra ``vllm`` and a GPU.

    Args:
        task: What the model does: chat, completions or embeddings.
        max_tokens: Most tokens of an answer.
        options: Arguments of vLLM's engine, such as ``{max_model_len: 8192}`` or
            ``{gpu_memory_utilization: 0.8}``.
    """

    max_concurrency = 256

    def __init__(
        self,
        node: Predictor,
        root: Path,
        *,
        task: Literal["chat", "completions", "embeddings"] = "chat",
        max_tokens: AtLeastOne = 1024,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._vllm = require("vllm", "vllm", "it needs Linux and a GPU")
        torch = require("torch", "torch")
        if not torch.cuda.is_available():
            raise CannotLoad("the runtime 'vllm' needs a GPU, and this process sees none")
        self._task, self._most, self._options = task, max_tokens, options or {}
        if node.resources is not None and node.resources.gpu_memory is not None:
            self._options = {**self._options, _SHARE: gpu_share(torch, node.resources)}
        with reading(node, root):
            self._path = model_path(node, root)
        self._engine: Any = None
        self._tokenizer: Any = None
        self.predict: Any = self._embed if task == "embeddings" else self._stream
        self.join = joined

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the outputs of the task."""
        return vector_types(inputs) if args.get("task") == "embeddings" else output_types()

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find a missing model, a method, several inputs, and options that the node sets itself."""
        yield from no_model(node)
        yield from no_method(node)
        if len(node.inputs) != 1:
            yield ("inputs",), "the runtime 'vllm' takes one input"
        options = cast("dict[str, Any]", node.args.get("options") or {})
        for name in _OWN:
            if name in options:
                yield ("args", "options", name), "the node sets this argument itself; remove it"
        if _SHARE in options and node.resources is not None and node.resources.gpu_memory:
            said = "is what `resources.gpu_memory` says in bytes; remove one of the two"
            yield ("args", "options", _SHARE), said

    async def load(self) -> None:
        """Start the engine, which reads the model; CannotLoad where vLLM refuses it."""
        runner = "pooling" if self._task == "embeddings" else "generate"
        try:
            arguments = self._vllm.AsyncEngineArgs(
                **{"runner": runner, "enable_log_requests": False, **self._options},
                model=str(self._path), trust_remote_code=False,
            )  # fmt: skip
            made = self._vllm.AsyncLLMEngine.from_engine_args
            self._engine = await asyncio.to_thread(made, arguments)
        except (TypeError, ValueError, RuntimeError, OSError) as error:
            text = " ".join(str(error).replace(str(self._path), self._path.name).split())
            raise CannotLoad(f"vLLM refuses {self._path.name}: {text[:500]}") from None
        if self._task == "chat":
            self._tokenizer = _tokenizer(self._path)
            check_template(self._tokenizer)

    async def unload(self) -> None:
        """End the engine and its processes."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.shutdown)

    async def check_health(self) -> None:
        """Raise vLLM's error where its engine has died."""
        if self._engine is not None:
            await self._engine.check_health()

    async def _stream(
        self, /, *, context: Context, **inputs: Array
    ) -> AsyncGenerator[dict[str, Array], None]:
        (array,) = inputs.values()
        prompt = await self._prompt(array, context)
        completed = 0
        # vLLM ends the request where this is closed.
        async with aclosing(self._engine.generate(prompt, self._params(context), _id())) as found:
            async for answer in _answers(found):
                (one,) = answer.outputs
                completed += len(one.token_ids)
                counts = {}
                if one.finish_reason is not None:
                    prompt_tokens = len(answer.prompt_token_ids or ())
                    counts = {PROMPT_TOKENS: prompt_tokens, COMPLETION_TOKENS: completed}
                yield outputs(one.text, one.finish_reason or "", counts=counts)

    async def _prompt(self, array: Array, context: Context) -> Any:
        if self._task == "completions":
            return only_text("the prompt", array)
        # A template may take long for a long chat.
        encode = self._tokenizer
        text = await asyncio.to_thread(rendered, encode, array, context.parameters)
        ids = await asyncio.to_thread(lambda: encode(text, add_special_tokens=False)["input_ids"])
        return {"prompt_token_ids": ids}

    def _params(self, context: Context) -> Any:
        known = require("vllm.sampling_params", "vllm")
        fields = sampling_fields(context.parameters, self._most)
        form = structure(context.parameters)
        try:
            if form is not None:
                fields["structured_outputs"] = known.StructuredOutputsParams(**form)
            return known.SamplingParams(**fields, output_kind=known.RequestOutputKind.DELTA)
        except (TypeError, ValueError) as error:
            text = " ".join(str(error).split())[:300]
            raise InvalidRequest(f"vLLM refuses the request's parameters: {text}") from None

    async def _embed(self, /, **inputs: Array) -> Array:
        (array,) = inputs.values()
        if array.dtype.kind not in "OSU" or array.ndim != 1 or not array.size:
            raise InvalidRequest(f"texts must be BYTES of shape [rows], got {list(array.shape)}")
        texts = [str(text) for text in as_text(array).tolist()]
        return np.stack(await asyncio.gather(*map(self._vector, texts)))

    async def _vector(self, text: str) -> Array:
        params = require("vllm.pooling_params", "vllm").PoolingParams(task="embed")
        async with aclosing(self._engine.encode(text, params, _id())) as found:
            async for answer in _answers(found):
                data = answer.outputs.data
        vector: Array = data.float().cpu().numpy()
        return vector


async def _answers(found: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """Give vLLM's answers; InvalidRequest where it refuses the prompt, as one that is too long."""
    try:
        async for answer in found:
            yield answer
    except ValueError as error:
        text = " ".join(str(error).split())[:300]
        raise InvalidRequest(f"vLLM refuses the request: {text}") from None


def _tokenizer(path: Path) -> Any:
    transformers = require("transformers", "huggingface")
    return transformers.AutoTokenizer.from_pretrained(
        path, local_files_only=True, trust_remote_code=False
    )


def _id() -> str:
    """Return an id of vLLM's own for a request: the caller's may not be the only one."""
    return uuid4().hex
