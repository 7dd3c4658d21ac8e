"""Components: what a node's code must be, the built-ins, and how both are loaded."""

from __future__ import annotations

from anabranch.components.binding import bind
from anabranch.components.contract import DEFAULT_OUTPUT, METHODS, Bound, CannotLoad, Context
from anabranch.components.registry import Kind, get, names, problems, register
from anabranch.components.tensors.arrays import to_array
from anabranch.components.tensors.datatypes import matches, to_datatype, to_dtype
from anabranch.components.tensors.types import TypeConflict

__all__ = [
    "DEFAULT_OUTPUT",
    "METHODS",
    "Bound",
    "CannotLoad",
    "Context",
    "Kind",
    "TypeConflict",
    "bind",
    "get",
    "matches",
    "names",
    "problems",
    "register",
    "to_array",
    "to_datatype",
    "to_dtype",
]
