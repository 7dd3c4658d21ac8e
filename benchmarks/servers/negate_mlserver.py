"""The graph of one node as a custom runtime of MLServer, in the server's own process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from components import Negate
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from negate_ports import noted
from script import HOST, arguments, free_port

LIMIT = 64 * 2**20
"""Longest message over gRPC, in bytes: anabranch's own. Over HTTP, MLServer has none."""


class Runtime(MLModel):
    async def load(self) -> bool:
        self._node = Negate()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        y = self._node.transform(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", y, use_bytes=False)]
        )


def write_settings(folder: Path, port: int) -> None:
    """No worker processes and no debug mode: the fastest way that MLServer has."""
    server = {
        "host": HOST,
        "http_port": port,
        "grpc_port": noted(folder, free_port()),
        "grpc_max_message_length": LIMIT,
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,
    }
    model = {"name": "negate", "implementation": "negate_mlserver.Runtime"}
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))


if __name__ == "__main__":
    told = arguments()
    write_settings(told.folder, told.port)
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", str(told.folder)])
