"""Values of a library as JSON-able data, of a size that a client can use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

MOST = 10_000
"""Most elements of an array; of a larger one, only its datatype and shape are told."""


def plain(value: Any) -> Any:
    """Return numbers, texts, lists and maps; NaN and infinities are None.

    An array with over ``MOST`` elements becomes ``{"omitted": "float64[500, 40]"}``, anything else
    that JSON does not know the name of its type.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return value.decode(errors="replace")
        case np.ndarray() if value.size > MOST:
            return {"omitted": f"{value.dtype}{list(value.shape)}"}
        case np.ndarray() if value.dtype.kind in "biuf" and np.isfinite(value).all():
            return value.tolist()
        case np.ndarray() | np.generic():
            return plain(value.tolist())
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
    return {"omitted": type(value).__name__}
