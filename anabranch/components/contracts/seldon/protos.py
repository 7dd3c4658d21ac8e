"""Messages of Seldon's protocol, from ``seldon.binpb``, which ``make proto`` compiles.

As those of the Open Inference Protocol, they live in a pool of their own, beside which the package
``seldon-core`` can be imported.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, empty_pb2, struct_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PROTO_PACKAGE = "seldon.protos"


def described() -> list[Any]:
    """Return the descriptors of all files, each after those that it imports."""
    data = files(__package__).joinpath("seldon.binpb").read_bytes()
    found = []
    for module in (any_pb2, empty_pb2, struct_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        found.append(file)
    return [*found, *descriptor_pb2.FileDescriptorSet.FromString(data).file]


def _loaded() -> DescriptorPool:
    pool = DescriptorPool()
    for file in described():
        pool.Add(file)
    return pool


POOL = _loaded()


def message_type(name: str) -> Any:
    """Return the class of a message, by its name without the package; KeyError for no message."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"{PROTO_PACKAGE}.{name}"))
