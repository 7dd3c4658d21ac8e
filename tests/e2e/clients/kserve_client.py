"""kserve's REST and gRPC clients against two graphs: argv is the HTTP and the gRPC address."""

import asyncio
import sys

import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig

FLOATS = np.array([[1.5, -2.0], [0.1, 3.25]], np.float32)
HALVES = np.array([[0.5, 65504.0]], np.float16)
TEXTS = np.array(["café", "", "x"], np.object_)
COUNTS = np.array([1, -(2**62), 7], np.int64)


def requests(binary):
    x = InferInput("x", list(FLOATS.shape), "FP32")
    x.set_data_from_numpy(FLOATS, binary_data=binary)
    text = InferInput("text", [3], "BYTES")
    text.set_data_from_numpy(TEXTS, binary_data=binary)
    count = InferInput("count", [3], "INT64")
    count.set_data_from_numpy(COUNTS, binary_data=binary)
    return (
        InferRequest("doubler", [x], request_id="a"),
        InferRequest("words", [text, count], request_id="b"),
    )


def check(doubled, words):
    assert doubled.id == "a" and doubled.model_name == "doubler", doubled
    np.testing.assert_array_equal(doubled.get_output_by_name("y").as_numpy(), FLOATS * 2)
    assert words.id == "b" and words.model_name == "words", words
    np.testing.assert_array_equal(words.get_output_by_name("next").as_numpy(), COUNTS + 1)
    same = words.get_output_by_name("same").as_numpy().tolist()
    assert [item.decode() if isinstance(item, bytes) else item for item in same] == TEXTS.tolist()


async def over_rest(base):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_ready(base) and await client.is_server_live(base)
    assert await client.is_model_ready(base, "words")
    for binary in (True, False):
        doubler, words = requests(binary)
        check(
            await client.infer(base, doubler, model_name="doubler"),
            await client.infer(base, words, model_name="words"),
        )
    await client.close()


async def over_grpc(address):
    async with InferenceGRPCClient(address) as client:
        assert await client.is_server_ready() and await client.is_server_live()
        assert await client.is_model_ready("doubler")
        for binary in (True, False):
            doubler, words = requests(binary)
            check(await client.infer(doubler), await client.infer(words))


async def main():
    await over_rest(f"http://{sys.argv[1]}")
    await over_grpc(sys.argv[2])


if __name__ == "__main__":
    asyncio.run(main())
    print("all is well")
