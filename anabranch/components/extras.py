"""Libraries that only some built-ins need, imported when they are."""

from __future__ import annotations

import importlib
from typing import Any

from anabranch.components.contract import CannotLoad


def require(module: str, extra: str, note: str = "") -> Any:
    """Import a module; CannotLoad says which extra of anabranch brings it, and the ``note``."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CannotLoad(
            f"{module.partition('.')[0]} cannot be imported ({error}): "
            f"pip install 'anabranch[{extra}]'{note and f' ({note})'}"
        ) from None
