"""Events for sinks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anabranch.router.inference.contract import InferenceRequest, InferenceResponse, OutputTensor
from anabranch.router.request_log import entries
from anabranch.router.request_log.entries import LogRule
from anabranch.router.request_log.events import encode


def make_event(number: int, size: int = 4) -> bytes:
    """An event whose id is its number, of a request with ``size`` bytes of UINT8."""
    x: Any = np.arange(size, dtype=np.uint8)
    rule = LogRule(known=("x",), max_tensor=2**24, most=2**24)
    entry = entries.begin(rule, "demo", 3, InferenceRequest({"x": x}, request_id=str(number)))
    answer = InferenceResponse("demo", "3", None, [OutputTensor("y", "UINT8", x)])
    entries.answered(rule, entry, answer)
    return encode(entry, 2**24)


@pytest.fixture(scope="session")
def event() -> Any:
    return make_event
