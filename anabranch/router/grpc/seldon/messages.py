"""Messages of the protocol, from ``seldon.binpb``, which ``make proto`` compiles.

As those of the Open Inference Protocol, they live in a pool of their own, beside which the package
``seldon-core`` can be imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, empty_pb2, struct_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from anabranch.names import DEFAULT_NAMESPACE

_PACKAGE = "seldon.protos"
SELDON = f"{_PACKAGE}.Seldon"
"""Full name of the protocol's service."""
NAME, NAMESPACE = "seldon", "namespace"
"""Metadata by which a gateway of Seldon's finds a deployment."""


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
    """Return the class of a message, by its name without the package."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def path(method: str) -> str:
    """Return the path of a method of the service, as gRPC writes it."""
    return f"/{SELDON}/{method}"


def methods() -> list[str]:
    """Return the methods of the service; all take one message."""
    return [method.name for method in POOL.FindServiceByName(SELDON).methods]


def graph_of(metadata: Mapping[str, str]) -> str | None:
    """Return the graph, well-formed or not, that a call's metadata name; None for none."""
    name, namespace = metadata.get(NAME), metadata.get(NAMESPACE, DEFAULT_NAMESPACE)
    if not name:
        return None
    return name if namespace == DEFAULT_NAMESPACE else f"{namespace}/{name}"


SeldonMessage = message_type("SeldonMessage")
DefaultData = message_type("DefaultData")
Tensor = message_type("Tensor")
MetaMessage = message_type("Meta")
