from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import Default, DescriptorPool

from anabranch.errors import InvalidRequest
from anabranch.router.grpc import messages
from anabranch.router.grpc.messages import POOL, SERVICE, InferRequest, parse

FOLDER = Path(messages.__file__).parent


def test_the_descriptors_are_those_of_the_proto(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    compiled = tmp_path / "found.binpb"
    command = ["-m", "grpc_tools.protoc", f"-I{FOLDER}", f"--descriptor_set_out={compiled}"]
    subprocess.run([sys.executable, *command, "open_inference.proto"], check=True)
    kind = descriptor_pb2.FileDescriptorSet
    committed = (FOLDER / "open_inference.binpb").read_bytes()
    assert kind.FromString(compiled.read_bytes()) == kind.FromString(committed), "run `make proto`"


def test_another_module_of_the_same_package_can_be_loaded_beside_it() -> None:
    with pytest.raises(KeyError):
        Default().FindServiceByName(SERVICE)
    found = descriptor_pb2.FileDescriptorProto()
    POOL.FindFileContainingSymbol(SERVICE).CopyToProto(found)
    found.name = "other.proto"
    other = DescriptorPool()
    other.Add(found)
    assert other.FindServiceByName(SERVICE) is not POOL.FindServiceByName(SERVICE)


def test_the_methods_are_those_of_the_protocol() -> None:
    methods = POOL.FindServiceByName(SERVICE).methods_by_name
    assert sorted(methods) == sorted(
        [
            *("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata"),
            *("ModelInfer", "ModelStreamInfer", "RepositoryIndex"),
            *("RepositoryModelLoad", "RepositoryModelUnload"),
        ]
    )
    streams = [name for name, found in methods.items() if found.client_streaming]
    assert streams == [name for name, found in methods.items() if found.server_streaming]
    assert streams == ["ModelStreamInfer"]


def test_bytes_that_are_no_message_are_named() -> None:
    with pytest.raises(InvalidRequest, match="no ModelInferRequest"):
        parse(InferRequest, b"\x0a\xff")
    with pytest.raises(InvalidRequest, match="no ModelInferRequest"):
        parse(InferRequest, b"\x0a\x02\xc3\x28")  # the name is no UTF-8
