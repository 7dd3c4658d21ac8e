"""The cap on the GPU memory of a process, on a device that only says how large it is."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import pytest

from anabranch.components.binding import bind
from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes.torch import memory
from anabranch.components.runtimes.torch.memory import cap_memory, gpu_share
from anabranch.errors import LoadError
from anabranch.specs.models import Resources

GIB = 2**30


class Cuda:
    """As much of ``torch.cuda`` as a cap needs."""

    def __init__(self, *gib: int) -> None:
        self.sizes = [size * GIB for size in gib]
        self.fractions: dict[int, float] = {}

    def is_available(self) -> bool:
        return bool(self.sizes)

    def device_count(self) -> int:
        return len(self.sizes)

    def get_device_properties(self, device: int) -> Any:
        return SimpleNamespace(total_memory=self.sizes[device])

    def set_per_process_memory_fraction(self, fraction: float, device: int) -> None:
        self.fractions[device] = fraction


def asks(gpu: float = 1.0, size: str | None = None) -> Resources:
    return Resources.model_validate({"gpu": gpu} | ({} if size is None else {"gpu_memory": size}))


@pytest.fixture(autouse=True)
def nothing_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_capped", WeakValueDictionary())


def test_the_nodes_of_a_process_have_a_cap_together() -> None:
    cuda = Cuda(80, 40)
    torch = SimpleNamespace(cuda=cuda)
    first, second = asks(0.25, "10GiB"), asks(0.25, "10GiB")
    cap_memory(torch, first)
    assert cuda.fractions == {0: 0.125, 1: 0.25}
    for _ in range(3):  # each model of a multiplexed node
        cap_memory(torch, second)
    assert cuda.fractions == {0: 0.25, 1: 0.5}
    del first
    cap_memory(torch, second)
    assert cuda.fractions == {0: 0.125, 1: 0.25}


@pytest.mark.parametrize("resources", [None, asks()])
def test_without_a_budget_there_is_no_cap(resources: Resources | None) -> None:
    cuda = Cuda(80)
    cap_memory(SimpleNamespace(cuda=cuda), resources)
    assert cuda.fractions == {}


def test_without_a_gpu_there_is_no_cap() -> None:
    cuda = Cuda()
    cap_memory(SimpleNamespace(cuda=cuda), asks(1.0, "10GiB"))
    assert cuda.fractions == {}


def test_a_gpu_that_has_less_is_refused() -> None:
    cuda = Cuda(8)
    message = r"resources.gpu_memory is 10GiB, but the GPU has 8.0 GiB: ask for less"
    with pytest.raises(CannotLoad, match=message):
        cap_memory(SimpleNamespace(cuda=cuda), asks(1.0, "10GiB"))
    assert cuda.fractions == {}


@pytest.mark.parametrize(("gpu", "warned"), [(0.25, True), (0.5, False), (1.0, False)])
def test_more_than_the_reserved_fraction_is_told(caplog: Any, gpu: float, warned: bool) -> None:
    caplog.set_level(logging.WARNING)
    assert gpu_share(SimpleNamespace(cuda=Cuda(80)), asks(gpu, "40GiB")) == 0.5
    assert [("40GiB, more than the 20.0 GiB" in one) for one in caplog.messages] == [True] * warned


def test_classes_that_import_torch_are_capped_too(node: Any, bundle: Any, monkeypatch: Any) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "cuda", Cuda(8))
    root = bundle({"c.py": "class Same:\n    def transform(self, x):\n        return x\n"})
    fields = {"type": "transformer", "component": "c.py:Same"}
    bound = bind("n", node(**fields, resources={"gpu": 0.5, "gpu_memory": "2GiB"}), root)
    assert bound.node == "n" and torch.cuda.fractions == {0: 0.25}
    with pytest.raises(LoadError, match=r"'n'.*gpu_memory is 9GiB, but the GPU has 8.0 GiB"):
        bind("n", node(**fields, resources={"gpu": 1.0, "gpu_memory": "9GiB"}), root)
