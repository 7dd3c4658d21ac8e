"""CUDA graphs: the GPU's work for a batch of a fixed size, recorded once and played back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes.torch.devices import Call
from anabranch.components.runtimes.torch.loading import LoadedTorchModel
from anabranch.components.runtimes.torch.outputs import each
from anabranch.components.runtimes.torch.sizes import by_size
from anabranch.components.runtimes.torch.warming import examples, free_batch

_WARM_UP = 3
"""Calls before recording, in which libraries choose their kernels; as torch's notes advise."""


def with_graphs(torch: Any, model: LoadedTorchModel, sizes: Sequence[int]) -> Call:
    """Return the model's call with its work recorded for each of the ``sizes``, largest first.

    CannotLoad where other dimensions than the first may have any size.
    """
    if not free_batch(model):
        raise CannotLoad(
            "args.cuda_graphs needs a torch.export program whose inputs have any size in their "
            "first dimension and a fixed one in all others"
        )
    pool = torch.cuda.graph_pool_handle()
    calls = {
        size: _recorded(
            torch, model.call, [one.to(model.device) for one in examples(torch, model, size)], pool
        )
        for size in sorted(set(sizes), reverse=True)
    }
    return by_size(calls, model.call)


def _recorded(torch: Any, call: Call, inputs: list[Any], pool: Any) -> Call:
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(aside):
        for _ in range(_WARM_UP):
            call(inputs)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph, pool=pool):
        outputs = call(inputs)

    def replay(tensors: list[Any]) -> Any:
        for place, given in zip(inputs, tensors, strict=True):
            place.copy_(given)
        graph.replay()
        return each(torch.clone, outputs)  # the next replay overwrites them

    return replay
