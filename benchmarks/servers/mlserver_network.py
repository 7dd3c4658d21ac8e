"""A PyTorch network in a custom runtime of MLServer, with its adaptive batching or without."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from network import MAX_BATCH_SIZE, Network
from script import HOST, arguments, free_port

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


def write_settings(folder: Path, port: int) -> None:
    """No worker processes and no debug mode: the fastest way that MLServer has."""
    server = {
        "host": HOST,
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,
    }
    model = {
        "name": "network",
        "implementation": "mlserver_network.Served",
        "max_batch_size": MAX_BATCH_SIZE,
        "max_batch_time": BATCH_TIME_S,
    }
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))


if __name__ == "__main__":
    told = arguments()
    write_settings(told.folder, told.port)
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", str(told.folder)])
