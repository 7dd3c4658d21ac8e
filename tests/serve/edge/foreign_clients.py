"""Unmodified clients that are told an error: argv is the client, the HTTP and the gRPC address.

For each line of standard input, the client asks the graph ``a`` over each of its transports; what
it is told is a line of JSON: the exception's class, or the answer's, and its text.
"""

import asyncio
import json
import sys

import numpy as np

ROWS = np.array([[1.0, 2.0]], np.float32)


def openai_client(http, grpc):
    import openai

    client = openai.OpenAI(base_url=f"http://{http}/openai/a/v1", api_key="none", max_retries=0)
    words = [{"role": "user", "content": "x"}]
    return [lambda: client.chat.completions.create(model="a", messages=words)]


def triton_client(http, grpc):
    import tritonclient.grpc
    import tritonclient.http

    def asking(module, address):
        x = module.InferInput("x", ROWS.shape, "FP32")
        x.set_data_from_numpy(ROWS)
        return lambda: module.InferenceServerClient(address).infer("a", [x])

    return [asking(tritonclient.http, http), asking(tritonclient.grpc, grpc)]


def kserve_client(http, grpc):
    from kserve import InferInput, InferRequest
    from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig

    x = InferInput("x", list(ROWS.shape), "FP32")
    x.set_data_from_numpy(ROWS, binary_data=False)
    request = InferRequest("a", [x])

    async def over_rest(protocol, sent):
        client = InferenceRESTClient(RESTConfig(protocol=protocol))
        return await client.infer(f"http://{http}", sent, model_name="a")

    async def over_grpc():
        async with InferenceGRPCClient(grpc) as client:
            return await client.infer(request)

    return [
        lambda: asyncio.run(over_rest("v1", {"instances": [[1, 2]]})),
        lambda: asyncio.run(over_rest("v2", request)),
        lambda: asyncio.run(over_grpc()),
    ]


def seldon_client(http, grpc):
    from seldon_core.seldon_client import SeldonClient

    def asking(transport, address):
        client = SeldonClient(gateway="istio", transport=transport, gateway_endpoint=address,
                              deployment_name="a", namespace="default",
                              client_return_type="proto")  # fmt: skip
        return lambda: client.predict(data=ROWS.astype(np.float64))

    return [asking("rest", http), asking("grpc", grpc)]


def told(ask):
    try:
        found = ask()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return [type(found).__name__, str(found)]


if __name__ == "__main__":
    asks = globals()[sys.argv[1]](*sys.argv[2:])
    for _ in sys.stdin:
        print(json.dumps([told(ask) for ask in asks]), flush=True)
