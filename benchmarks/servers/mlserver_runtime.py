"""The whole graph in a custom runtime of MLServer, in the server's own process."""

from __future__ import annotations

import json
import os
from pathlib import Path

from components import evaluate
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from script import HOST, arguments, free_port


class Five(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        y = evaluate(NumpyCodec.decode_input(payload.inputs[0]))
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
    model = {"name": "five", "implementation": "mlserver_runtime.Five"}
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))


if __name__ == "__main__":
    import sys

    told = arguments()
    write_settings(told.folder, told.port)
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", str(told.folder)])
