"""The graph of one node as a custom runtime of MLServer, in the server's own process."""

from __future__ import annotations

import mlserver_start
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from negate_ports import noted
from negating import Negate
from script import arguments, free_port

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


if __name__ == "__main__":
    told = arguments()
    mlserver_start.main(
        told,
        {"name": "negate", "implementation": "negate_mlserver.Runtime"},
        grpc_port=noted(told.folder, free_port()),
        grpc_max_message_length=LIMIT,
    )
