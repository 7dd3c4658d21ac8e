"""A PyTorch network in a custom runtime of MLServer, with its adaptive batching or without."""

from __future__ import annotations

import asyncio

import mlserver_start
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from network import MAX_BATCH_SIZE, Network
from script import arguments

BATCH_TIME_S = 0.001
"""How long a request is held for others, even if it is alone and nothing else runs. Between 1 and
100 ms, 1 ms had the most answers at 64 clients, and costs one client the least."""


class Served(MLModel):
    async def load(self) -> bool:
        self._network = Network()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        y = await asyncio.to_thread(self._network, x)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", y, use_bytes=False)]
        )


if __name__ == "__main__":
    mlserver_start.main(
        arguments(),
        {
            "name": "network",
            "implementation": "mlserver_network.Served",
            "max_batch_size": MAX_BATCH_SIZE,
            "max_batch_time": BATCH_TIME_S,
        },
    )
