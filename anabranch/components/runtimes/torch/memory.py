"""The memory of GPUs: the cap of a process, and running out of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from anabranch.components.contract import CannotLoad
from anabranch.specs.models import Resources

T = TypeVar("T")
logger = logging.getLogger("anabranch.components.torch")
_GIB = 2**30
_capped: WeakValueDictionary[int, Resources] = WeakValueDictionary()
"""Resources of the nodes of this process that PyTorch's cap is for, by identity."""
_capping = Lock()


def in_memory(torch: Any, call: Callable[[], T], what: str) -> T:
    """Return what ``call`` does; a MemoryError where the device has no memory left for ``what``.

    Then the memory that the call had taken is free again.
    """
    try:
        return call()
    except torch.OutOfMemoryError:
        pass  # its traceback holds tensors, so it goes before the memory is freed
    torch.cuda.empty_cache()
    raise MemoryError(f"the device has no memory left for {what}")


def cap_memory(torch: Any, resources: Resources | None) -> None:
    """Let PyTorch take no more of each GPU than the nodes of this process may, all together.

    The nodes are those for which this was called and whose specs live. Without ``gpu_memory`` or a
    GPU nothing is done. Raise CannotLoad where a GPU has less.
    """
    if resources is None or resources.gpu_memory is None or not torch.cuda.is_available():
        return
    gpu_share(torch, resources)
    with _capping:
        _capped[id(resources)] = resources
        most = sum(int(one.gpu_memory or 0) for one in _capped.values())
    for device in range(torch.cuda.device_count()):
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, most / total), device)


def gpu_share(torch: Any, resources: Resources) -> float:
    """Return ``gpu_memory`` as a share of the process's first GPU, above 0 and at most 1.

    Raise CannotLoad where the GPU has less. Warn where it is more than the fraction of the GPU that
    is reserved, since other processes may count on the rest.
    """
    wanted = int(resources.gpu_memory or 0)
    total = torch.cuda.get_device_properties(0).total_memory
    if wanted > total:
        raise CannotLoad(
            f"resources.gpu_memory is {resources.gpu_memory}, but the GPU has {total / _GIB:.1f} "
            "GiB: ask for less, or for another GPU by resources.accelerator"
        )
    reserved = min(1.0, resources.gpu or 1.0) * total
    if wanted > reserved:
        logger.warning(
            "resources.gpu_memory is %s, more than the %.1f GiB that resources.gpu: %g reserves of "
            "a GPU of %.1f GiB: processes that share the GPU may find no memory",
            resources.gpu_memory, reserved / _GIB, resources.gpu, total / _GIB,
        )  # fmt: skip
    return float(wanted / total)
