"""Running out of a device's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


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
