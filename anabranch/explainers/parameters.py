"""Reads the parameters ``target`` and ``seed`` of a request for an explanation."""

from __future__ import annotations

from typing import Any

from anabranch.components.contract import Context
from anabranch.errors import InvalidRequest
from anabranch.specs.excerpts import shown
from anabranch.specs.models import Explainer

_MAX_SEED = 2**32 - 1
_MAX_TARGET = 2**31 - 1


def seed_of(context: Context, node: Explainer) -> int:
    """Return the request's ``seed``, or else the node's."""
    seed = _whole("seed", context.parameters.get("seed"), _MAX_SEED)
    return node.seed if seed is None else seed


def target_of(context: Context) -> int | None:
    """Return the explained class of the request, counted from 0; None without ``target``."""
    return _whole("target", context.parameters.get("target"), _MAX_TARGET)


def _whole(name: str, value: Any, most: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidRequest(
            f"parameter {name!r} must be a whole number from 0 to {most}, not {shown(value)}"
        )
    return value
