"""Limits of metrics: what the text or number in `max` and `min` stands for."""

from __future__ import annotations

from anabranch.specs.models import Limit
from anabranch.specs.units import Duration

_MULTIPLE = "x"


def parse_limit(limit: Limit) -> tuple[bool, float]:
    """Return whether a limit is relative to the stable revision, and its number.

    ``1.2x`` is (True, 1.2); ``250ms`` is (False, 0.25), in seconds; ``0.01`` is (False, 0.01).
    A ValueError for text that is neither a multiple nor a duration.
    """
    if not isinstance(limit, str):
        return False, float(limit)
    if limit.endswith(_MULTIPLE):
        return True, float(limit.removesuffix(_MULTIPLE))
    return False, Duration.parse(limit).seconds
