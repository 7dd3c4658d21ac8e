"""A PyTorch network in one BentoML service, with its adaptive batching or without.

A batch is put together from the lists of the requests, so the reply is a list of tensors, too.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml
import bentoml_start
import numpy as np
from network import MAX_BATCH_SIZE, Network

LATENCY_MS = 60_000
"""BentoML's own default. Requests are not held by it: those that seem to take longer are refused,
and at 200 ms some of 64 clients were, with no more answers for the others."""
BATCHING = {"batchable": True, "max_batch_size": MAX_BATCH_SIZE, "max_latency_ms": LATENCY_MS}


@bentoml.service(logging={"access": {"enabled": False}}, threads=os.cpu_count())
class Served:
    def __init__(self) -> None:
        self._network = Network()

    @bentoml.api(**(BATCHING if MAX_BATCH_SIZE else {}))
    def infer(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        y = self._network(np.array([tensor["data"] for tensor in inputs], np.float32))
        return [
            {"name": "y", "datatype": "FP32", "shape": [1, len(row)], "data": row}
            for row in y.tolist()
        ]


if __name__ == "__main__":
    bentoml_start.main("bentoml_network:Served")
