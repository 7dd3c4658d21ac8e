"""kserve's REST (V1, V2) and gRPC clients against two graphs: argv is the HTTP and gRPC address."""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig

FLOATS = np.array([[1.5, -2.0], [0.1, 3.25]], np.float32)
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


async def over_v1(base):
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        assert await client.is_model_ready(base, "words")
        doubled = await client.infer(base, {"instances": FLOATS.tolist()}, model_name="doubler")
        np.testing.assert_array_equal(np.float32(doubled["predictions"]), FLOATS * 2)
        rows = [
            {"text": text, "count": int(count)} for text, count in zip(TEXTS, COUNTS, strict=True)
        ]
        words = await client.infer(base, {"instances": rows}, model_name="words")
        assert words == {
            "predictions": [{"same": one["text"], "next": one["count"] + 1} for one in rows]
        }, words
        inputs = {"text": [{"b64": "/w=="}], "count": [1]}
        words = await client.infer(base, {"inputs": inputs}, model_name="words")
        assert words == {"outputs": {"same": [{"b64": "/w=="}], "next": [2]}}, words
        await refused(client.infer(base, {"instances": [[1]]}, model_name="doubler"), "input 'x'")
        await refused(client.explain(base, "doubler", {"instances": [[1, 2]]}), "no explainers")
        await refused(client.is_model_ready(base, "nobody"), "there is no graph 'nobody'")


async def refused(asked, words):
    """Check that the client raises the error of the engine's answer."""
    try:
        found = await asked
    except httpx.HTTPStatusError as error:
        assert words in str(error), error
    else:
        raise AssertionError(found)


async def over_grpc(address):
    async with InferenceGRPCClient(address) as client:
        assert await client.is_server_ready() and await client.is_server_live()
        assert await client.is_model_ready("doubler")
        for binary in (True, False):
            doubler, words = requests(binary)
            check(await client.infer(doubler), await client.infer(words))


async def main():
    await over_rest(f"http://{sys.argv[1]}")
    await over_v1(f"http://{sys.argv[1]}")
    await over_grpc(sys.argv[2])


if __name__ == "__main__":
    asyncio.run(main())
    print("all is well")
