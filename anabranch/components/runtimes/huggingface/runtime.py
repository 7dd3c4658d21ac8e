"""The runtime ``huggingface``: texts in, tensors out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

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
)
from anabranch.components.runtimes.huggingface.chat import check_template, rendered
from anabranch.components.runtimes.huggingface.loading import load
from anabranch.components.runtimes.huggingface.sampling import sampling_of
from anabranch.components.runtimes.huggingface.streaming import Streamer
from anabranch.components.runtimes.huggingface.tasks import MAX_NEW, TASKS
from anabranch.components.runtimes.signatures import no_method, no_model
from anabranch.components.runtimes.torch.devices import choose
from anabranch.components.runtimes.torch.memory import cap_memory, in_memory
from anabranch.components.runtimes.torch.runtime import DTYPES
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.texts import as_text
from anabranch.components.tensors.types import Args, TypeConflict, Types
from anabranch.errors import InvalidRequest, Mistake
from anabranch.specs.models import NodeBase, Predictor
from anabranch.telemetry.logs import REQUESTS

_LABELS = "candidate_labels"


@register("predictor", "huggingface")
class HuggingfaceModel:
    """Serves a folder of ``save_pretrained`` for a ``task`` on texts: BYTES [rows].

    ============================ ==================================================================
    text-classification          ``labels`` and ``scores``
    token-classification         a list of entities in JSON for each text
    fill-mask                    ``tokens`` and ``scores`` for the one mask in each text
    zero-shot-classification     a score for each of ``options.candidate_labels``, in their order
    text-generation              the continuation of each text; with ``stream`` in pieces
    chat                         the next message after messages in JSON, BYTES [1]: ``text``,
                                 ``finish_reason``, ``prompt_tokens``, ``completion_tokens``, and
                                 ``tool_calls``, which is always empty
    feature-extraction           the mean of the last hidden states: an embedding
    tokenize                     ``input_ids`` and ``attention_mask``; needs no model
    ============================ ==================================================================

    ``options`` go to the pipeline, such as ``top_k`` (the outputs are [rows, k] then) or
    ``max_new_tokens``. ``device`` and ``dtype`` are as in the runtime ``torch``. The hub is never
    called, only safetensors are read, and code in the folder is never run.

    Texts are cut to what the model takes, but for fill-mask and text-generation, where longer ones
    are refused. The request parameter ``max_new_tokens`` may ask for shorter texts than the options
    allow, though not of a node with ``batching``. A stream takes one text at a time.

    ``chat`` renders the messages, and the request parameter ``tools``, by the tokenizer's chat
    template. It streams; where one answer is asked for, the pieces are joined. There, and in
    streams of text-generation, the request parameters ``max_tokens``, ``max_completion_tokens``,
    ``temperature``, ``top_p``, ``stop`` and ``seed`` are those of OpenAI's API.

    Args:
        task: Task of the pipeline.
        options: Keyword arguments of the pipeline's call, such as ``{top_k: 3}``.
        stream: Whether ``text-generation`` yields its text in pieces.
        device: Where the model runs: ``cpu``, ``cuda``, or ``auto``, which is cuda where there is a
            GPU.
        dtype: Datatype of the weights; that of the file if left out.
    """

    def __init__(
        self,
        node: Predictor,
        root: Path,
        *,
        task: Literal[
            "text-classification",
            "token-classification",
            "fill-mask",
            "zero-shot-classification",
            "text-generation",
            "chat",
            "feature-extraction",
            "tokenize",
        ],
        options: dict[str, Any] | None = None,
        stream: bool = False,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        dtype: Literal["fp32", "fp16", "bf16"] | None = None,
    ) -> None:
        transformers = require("transformers", "huggingface")
        self._torch = torch = require("torch", "torch")
        self._task = TASKS[task]
        width = None if dtype is None else getattr(torch, DTYPES[dtype])
        path = model_path(node, root)
        where = choose(torch, device)
        if where == "cuda":
            cap_memory(torch, node.resources)
        with reading(node, root):
            parts = _without_path(
                lambda: load(transformers, torch, path, self._task.auto, where, width), path
            )
            self._answer = self._task.make(parts, options or {})
        self._example = self._task.example
        if task == "fill-mask":
            self._example = f"{self._example} {parts.tokenizer.mask_token}"
        if task == "chat":
            check_template(parts.tokenizer)
        self._parts = parts
        self._streamer = Streamer(parts, options or {}) if stream or task == "chat" else None
        # What a node is shows in its method: an async generator streams.
        self.predict: Any = self._stream if stream else self._whole
        if task == "text-generation" and not stream:
            # A batch has no one request whose parameters it could follow.
            self.predict = self._generate if node.batching is None else self._generate_batch
        self.join: Any = _joined_texts
        if task == "chat":
            self.predict, self.join = self._chat, joined

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the outputs of the task; TypeConflict where the input is no list of texts."""
        (given,) = inputs.values()
        if given is not None and (given.datatype != "BYTES" or len(given.shape) != 1):
            raise TypeConflict(f"the runtime 'huggingface' takes texts, BYTES[-1], not {given}")
        if args["task"] == "chat":
            return output_types()
        return TASKS[str(args["task"])].types(-1 if given is None else given.shape[0], args)

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find a missing model, a method, more than one input, and options that do not fit."""
        yield from no_model(node)
        yield from no_method(node)
        if len(node.inputs) != 1:
            yield ("inputs",), "the runtime 'huggingface' takes one input, the texts"
        if node.args.get("stream") and node.args["task"] != "text-generation":
            yield ("args", "stream"), "only the task text-generation streams"
        streams = node.args.get("stream") or node.args["task"] == "chat"
        if streams and node.multiplex is not None:
            yield ("args", "stream"), "a node with `multiplex` cannot stream"
        if node.args["task"] == "zero-shot-classification" and not _labels(node):
            yield ("args", "options"), f"the task needs {_LABELS}, a list of texts"
        most = cast("dict[str, Any]", node.args.get("options") or {}).get(MAX_NEW, 1)
        if not _is_positive(most):
            yield ("args", "options"), f"{MAX_NEW} must be a whole number of at least 1"

    def warmup(self) -> None:
        """Answer one text, so that wrong options are found before the first request."""
        if self._streamer is None:
            self._whole(texts=np.array([self._example], object))

    def unload(self) -> None:
        """End the threads."""
        if self._streamer is not None:
            self._streamer.close()

    def _whole(self, /, **inputs: Array) -> Any:
        texts = _as_texts(inputs)
        return in_memory(self._torch, lambda: self._answer(texts), f"{len(texts)} texts")

    def _generate(self, /, *, context: Context, **inputs: Array) -> Any:
        texts, most = _as_texts(inputs), _most(context)
        return in_memory(self._torch, lambda: self._answer(texts, most), f"{len(texts)} texts")

    def _generate_batch(self, /, **inputs: Array) -> Any:
        if any(MAX_NEW in getattr(asked, "parameters", ()) for asked in REQUESTS.get()):
            raise InvalidRequest(
                f"the parameter {MAX_NEW} is not taken here, where requests are continued together"
                " in batches; the node's options say how long the texts are"
            )
        return self._whole(**inputs)

    async def _stream(self, /, *, context: Context, **inputs: Array) -> AsyncGenerator[Array, None]:
        assert self._streamer is not None
        texts = _as_texts(inputs)
        if len(texts) != 1:
            raise InvalidRequest(f"a stream takes one text, got {len(texts)}")
        found = self._streamer.pieces(texts[0], sampling_of(context.parameters))
        async with aclosing(found) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    yield np.array([piece], object)

    async def _chat(
        self, /, *, context: Context, **inputs: Array
    ) -> AsyncGenerator[dict[str, Array], None]:
        assert self._streamer is not None
        (array,) = inputs.values()
        wishes = sampling_of(context.parameters)
        tokenizer = self._parts.tokenizer
        text = await asyncio.to_thread(rendered, tokenizer, array, context.parameters)
        async with aclosing(self._streamer.pieces(text, wishes, is_rendered=True)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    yield outputs(piece)
                else:
                    counts = {
                        PROMPT_TOKENS: piece.prompt_tokens,
                        COMPLETION_TOKENS: piece.completion_tokens,
                    }
                    yield outputs(finish_reason=piece.finish_reason, counts=counts)


def _joined_texts(pieces: list[Array]) -> Array:
    return np.array(["".join(str(piece[0]) for piece in pieces)], object)


def _labels(node: NodeBase) -> bool:
    labels = cast("dict[str, Any]", node.args.get("options") or {}).get(_LABELS)
    return isinstance(labels, list) and bool(labels) and all(isinstance(x, str) for x in labels)


def _as_texts(inputs: dict[str, Array]) -> list[str]:
    (array,) = inputs.values()
    if array.dtype.kind not in "OSU" or array.ndim != 1 or not len(array):
        raise InvalidRequest(
            f"texts must be BYTES of shape [rows], at least one, got {list(array.shape)}"
        )
    return [str(text) for text in as_text(array).tolist()]


def _most(context: Context) -> int | None:
    most = context.parameters.get(MAX_NEW)
    if most is None:
        return None
    if not _is_positive(most):
        raise InvalidRequest(f"the parameter {MAX_NEW} must be a whole number of at least 1")
    return int(most)


def _is_positive(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1


def _without_path(load: Any, path: Path) -> Any:
    """Load, and name no folder of this machine where that fails."""
    try:
        return load()
    except CannotLoad:
        raise
    except Exception as error:
        text = " ".join(str(error).replace(str(path), path.name).split())
        raise CannotLoad(f"{path.name}: {type(error).__name__}: {text[:500]}") from None
