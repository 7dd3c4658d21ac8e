"""A small server of the Open Inference Protocol, in JSON alone, with functions as models."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT32": np.int32, "INT64": np.int64,
          "BOOL": np.bool_, "BYTES": object}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


class RemoteModels:
    """Models by name: each takes arrays by input and gives arrays by output."""

    def __init__(self, models: Mapping[str, Callable[..., Arrays]]) -> None:
        self.models = models
        self.calls: list[tuple[str, list[str]]] = []
        """Model and names of the inputs of each call."""

    def metadata(self, name: str) -> Any:
        """Return the metadata of a model; its function's annotations are its inputs."""
        model = self.models[name]
        inputs = getattr(model, "inputs", {})
        tensors = [{"name": n, "datatype": d, "shape": [-1]} for n, d in inputs.items()]
        return {"name": name, "platform": "test", "inputs": tensors, "outputs": []}

    def infer(self, name: str, body: Any) -> Any:
        """Return the answer of a model to a request."""
        inputs = {one["name"]: _array(one) for one in body["inputs"]}
        self.calls.append((name, sorted(inputs)))
        outputs = self.models[name](**inputs)
        asked = [one["name"] for one in body.get("outputs", ())] or list(outputs)
        found = [_tensor(key, outputs[key]) for key in asked if key in outputs]
        return {"model_name": name, "outputs": found}


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor["data"], DTYPES[tensor["datatype"]]).reshape(tensor["shape"])


def _tensor(name: str, array: np.ndarray) -> Any:
    datatype = NAMES[array.dtype]
    return {"name": name, "datatype": datatype, "shape": list(array.shape),
            "data": array.ravel().tolist()}  # fmt: skip


def taking(inputs: Mapping[str, str], model: Callable[..., Arrays]) -> Callable[..., Arrays]:
    """Say which inputs a model has, as name: datatype."""
    model.inputs = dict(inputs)  # type: ignore[attr-defined]
    return model


@contextmanager
def served(remote: RemoteModels) -> Iterator[str]:
    """Serve models at the address that is yielded."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            if parts == ["v2"]:
                self._answer(200, {"name": "test", "extensions": []})
            elif len(parts) > 2 and parts[2] in remote.models:
                self._answer(200, {} if parts[-1] == "ready" else remote.metadata(parts[2]))
            else:
                self._answer(404, {"error": f"no {self.path}"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._answer(200, remote.infer(self.path.strip("/").split("/")[2], body))

        def _answer(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
