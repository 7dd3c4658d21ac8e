"""Messages of the protocol, from ``open_inference.binpb``, which ``make proto`` compiles.

They live in a pool of their own: a client library that brings modules of the same names, such as
Triton's, can be imported beside them.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from anabranch.errors import InvalidRequest
from anabranch.router.oip.raw_tensors import Buffer

Message: TypeAlias = Any
"""A message; its fields are known only once the descriptors are loaded."""

_PACKAGE = "inference"
SERVICE = f"{_PACKAGE}.GRPCInferenceService"
"""Full name of the protocol's service."""


def _loaded() -> DescriptorPool:
    data = files(__package__).joinpath("open_inference.binpb").read_bytes()
    pool = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


POOL = _loaded()
"""Where the descriptors are, for reflection."""


def message_type(name: str) -> Any:
    """The class of a message of the protocol, by its name without the package."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def request_type(method: str) -> Any:
    """The class of what a method of the service takes."""
    return GetMessageClass(_method(method).input_type)


def response_type(method: str) -> Any:
    """The class of what a method of the service answers."""
    return GetMessageClass(_method(method).output_type)


def _method(name: str) -> Any:
    return POOL.FindServiceByName(SERVICE).methods_by_name[name]


def methods_of_one_message() -> list[str]:
    """Return the methods of the service that take one message; the others take a stream."""
    found = POOL.FindServiceByName(SERVICE).methods
    return [method.name for method in found if not method.client_streaming]


def path(method: str) -> str:
    """Return the path of a method of the service, as gRPC writes it."""
    return f"/{SERVICE}/{method}"


def parse(kind: Any, data: Buffer) -> Message:
    """Read a message; InvalidRequest where the bytes are none."""
    try:
        return kind.FromString(bytes(data))
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise InvalidRequest(f"the message is no {name} in Protocol Buffers") from None


InferParameter = message_type("InferParameter")
InferRequest = message_type("ModelInferRequest")
InferResponse = message_type("ModelInferResponse")
StreamResponse = message_type("ModelStreamInferResponse")
