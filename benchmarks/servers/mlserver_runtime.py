"""The whole graph in a custom runtime of MLServer, in the server's own process."""

from __future__ import annotations

import mlserver_start
from components import evaluate
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from script import arguments


class Five(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        y = evaluate(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", y, use_bytes=False)]
        )


if __name__ == "__main__":
    mlserver_start.main(arguments(), {"name": "five", "implementation": "mlserver_runtime.Five"})
