"""tritonclient over HTTP and gRPC against two graphs: argv is the HTTP and the gRPC address."""

import queue
import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

FLOATS = np.array([[1.5, -2.0], [np.inf, 3.25], [0.0, 1e-30]], np.float32)
TEXTS = np.array([b"caf\xc3\xa9", b"", b"\x00\xff raw"], np.object_)
COUNTS = np.array([1, -(2**62), 7], np.int64)


def inputs(module, binary=None):
    """The inputs of both graphs; ``binary`` only means something over HTTP."""
    extra = {} if binary is None else {"binary_data": binary}
    floats = FLOATS if binary is not False else np.abs(FLOATS[[0, 2]])
    x = module.InferInput("x", floats.shape, "FP32")
    x.set_data_from_numpy(floats, **extra)
    text = module.InferInput("text", [3], "BYTES")
    plain = np.array(["café", "", "text"], np.object_)
    text.set_data_from_numpy(plain if binary is False else TEXTS, **extra)
    count = module.InferInput("count", [3], "INT64")
    count.set_data_from_numpy(COUNTS, **extra)
    return [x], [text, count], plain


def check_doubled(result, expected=FLOATS):
    np.testing.assert_array_equal(result.as_numpy("y"), expected * 2)


def check_words(result, expected=TEXTS):
    found = [item if isinstance(item, bytes) else item.encode() for item in result.as_numpy("same")]
    assert found == [item if isinstance(item, bytes) else item.encode() for item in expected], found
    np.testing.assert_array_equal(result.as_numpy("next"), COUNTS + 1)


def over_http(address):
    client = http.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("doubler") and client.is_model_ready("words", "1")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("words")["inputs"][0]["datatype"] == "BYTES"
    assert {"doubler", "words"} <= {one["name"] for one in client.get_model_repository_index()}
    binary_x, binary_words, _ = inputs(http, binary=True)
    json_x, json_words, plain = inputs(http, binary=False)
    for compression in (None, "gzip", "deflate"):
        options = {
            "request_compression_algorithm": compression,
            "response_compression_algorithm": compression,
        }
        for binary in (True, False):
            same = [
                http.InferRequestedOutput(name, binary_data=binary) for name in ("same", "next")
            ]
            y = [http.InferRequestedOutput("y", binary_data=binary)]
            finite = np.abs(FLOATS[[0, 2]])
            found = client.infer("doubler", json_x, outputs=y, request_id="a", **options)
            check_doubled(found, finite)
            assert found.get_response()["id"] == "a"
            check_words(client.infer("words", json_words, outputs=same, **options), plain)
        check_doubled(client.infer("doubler", binary_x, **options))
        check_words(client.infer("words", binary_words, model_version="1", **options))
    try:
        client.infer("doublet", binary_x)
    except InferenceServerException as error:
        assert "doubler" in error.message(), error
    else:
        raise AssertionError("an unknown graph answered")
    client.close()


def over_grpc(address):
    client = grpc.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("doubler") and client.is_model_ready("words", "1")
    assert client.get_server_metadata().name
    assert client.get_model_metadata("words").inputs[1].datatype == "INT64"
    assert {"doubler", "words"} <= {one.name for one in client.get_model_repository_index().models}
    x, words, _ = inputs(grpc)
    for compression in (None, "gzip", "deflate"):
        found = client.infer("doubler", x, request_id="b", compression_algorithm=compression)
        check_doubled(found)
        assert found.get_response().id == "b"
        check_words(client.infer("words", words, compression_algorithm=compression))
    try:
        client.infer("doublet", x)
    except InferenceServerException as error:
        assert error.status() == "StatusCode.NOT_FOUND" and "doubler" in error.message(), error
    else:
        raise AssertionError("an unknown graph answered")
    streamed(client, x, words)
    client.close()


def streamed(client, x, words):
    """One stream with requests to both graphs."""
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    checks = {}
    for index in range(10):
        name, tensors, check = (
            ("doubler", x, check_doubled) if index % 2 else ("words", words, check_words)
        )
        checks[f"s{index}"] = check
        client.async_stream_infer(name, tensors, request_id=f"s{index}")
    while checks:
        result, error = answers.get(timeout=30)
        assert error is None, error
        if result.get_response().outputs:
            checks.pop(result.get_response().id)(result)
    client.stop_stream()


if __name__ == "__main__":
    over_http(sys.argv[1])
    over_grpc(sys.argv[2])
    print("all is well")
