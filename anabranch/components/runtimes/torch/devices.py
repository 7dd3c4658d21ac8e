"""Devices that models run on, and the way of tensors there and back."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock
from typing import Any, TypeAlias

from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes import UNLOCKED_CALLS
from anabranch.components.runtimes.torch.outputs import each

Call: TypeAlias = Callable[[list[Any]], Any]
"""Takes tensors in the order of the model's inputs; returns its outputs, as ``each`` takes them."""

NAMES = {"cpu": "cpu", "cuda": "cuda:0"}
"""torch's name of a device. A replica sees only its own GPU, as Ray sets CUDA_VISIBLE_DEVICES, and
that is the first that it sees."""


def choose(torch: Any, wanted: str) -> str:
    """Return ``cpu`` or ``cuda``; CannotLoad where ``cuda`` is wanted and there is none."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise CannotLoad(
            f"args.device is 'cuda', but torch {torch.__version__} sees no CUDA device here: "
            "reserve one with resources: {gpu: 1}, or use auto or cpu"
        )
    if wanted == "auto":
        return "cuda" if available else "cpu"
    return wanted


class Cpu:
    """Calls a model where the tensors are."""

    max_concurrency = UNLOCKED_CALLS

    def __init__(self, torch: Any, call: Call) -> None:
        self._call = call

    def run(self, tensors: list[Any]) -> Any:
        """Return the outputs."""
        return self._call(tensors)


class Cuda:
    """Calls a model on a GPU; tensors come from the CPU and the outputs are there again.

    Each call under way copies on a stream of its own, by way of pinned memory, while another
    calculates. torch keeps pinned memory for the next call.
    """

    max_concurrency = 2
    """One call copies while the other calculates."""

    def __init__(self, torch: Any, call: Call) -> None:
        self._torch, self._call = torch, call
        self._compute = torch.cuda.Stream()
        self._starting = Lock()
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.max_concurrency):
            self._idle.put(torch.cuda.Stream())
        torch.cuda.synchronize()  # the weights are there: these streams wait for no other

    def run(self, tensors: list[Any]) -> Any:
        """Return the outputs, on the CPU."""
        copies = self._idle.get()
        try:
            outputs = self._calculate(copies, self._to_device(copies, tensors))
            return self._to_host(copies, outputs)
        finally:
            self._idle.put(copies)

    def _to_device(self, copies: Any, tensors: list[Any]) -> list[Any]:
        with self._torch.cuda.stream(copies):
            there = [one.pin_memory().to(NAMES["cuda"], non_blocking=True) for one in tensors]
        for one in there:
            one.record_stream(self._compute)  # keeps its memory until the calculation is over
        return there

    def _calculate(self, copies: Any, tensors: list[Any]) -> Any:
        # One at a time: recorded graphs have their inputs and outputs in fixed places.
        with self._starting, self._torch.cuda.stream(self._compute):
            self._compute.wait_stream(copies)
            outputs = self._call(tensors)
            copies.wait_stream(self._compute)
        return outputs

    def _to_host(self, copies: Any, outputs: Any) -> Any:
        with self._torch.cuda.stream(copies):
            here = each(lambda one: self._pinned(copies, one), outputs)
        copies.synchronize()
        return here

    def _pinned(self, copies: Any, value: Any) -> Any:
        if not isinstance(value, self._torch.Tensor) or not value.is_cuda:
            return value
        value.record_stream(copies)
        here = self._torch.empty_like(value, device="cpu", pin_memory=True)
        return here.copy_(value, non_blocking=True)
