"""open-inference-openapi against two graphs: argv is the HTTP address."""

import sys

from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.types import InferenceRequest, RequestInput

if __name__ == "__main__":
    client = OpenInferenceClient(base_url=f"http://{sys.argv[1]}")
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness("doubler")
    assert client.read_server_metadata().extensions
    for metadata in (
        client.read_model_metadata("words"),
        client.read_model_version_metadata("words", "1"),
    ):
        assert [one.name for one in metadata.inputs] == ["text", "count"], metadata
    x = RequestInput(name="x", datatype="FP32", shape=[1, 2], data=[[1.5, -2.0]])
    found = client.model_infer("doubler", request=InferenceRequest(id="a", inputs=[x]))
    assert found.id == "a" and list(found.outputs[0].data.__root__) == [3.0, -4.0], found
    texts = RequestInput(name="text", datatype="BYTES", shape=[2], data=["é", ""])
    counts = RequestInput(name="count", datatype="INT64", shape=[2], data=[1, 2])
    request = InferenceRequest(inputs=[texts, counts])
    answer = client.model_version_infer("words", "1", request=request)
    by_name = {one.name: list(one.data.__root__) for one in answer.outputs}
    assert by_name == {"same": ["é", ""], "next": [2, 3]}, by_name
    try:
        client.model_infer("doublet", request=request)
    except ApiError as error:
        assert error.status_code == 404 and "doubler" in str(error.body), error
    else:
        raise AssertionError("an unknown graph answered")
    print("all is well")
