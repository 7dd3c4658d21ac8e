"""Modules in place of the package ``seldon_core``, for components that import its classes.

A component imports ``SeldonComponent``, ``SeldonResponse``, exceptions, the makers of metrics,
``Storage``, messages of protobuf and functions that read them from there. Where the package is
missing, they are these; it is large, and holds old versions of libraries that the engine has newer.
An import of anything else of the package fails as without it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from anabranch.components.contracts.seldon.standin_error import SeldonMicroserviceException

PACKAGE = "seldon_core"
_LOCAL = "file://"


class SeldonNotImplementedError(SeldonMicroserviceException):
    """Raised by the methods that a component leaves out; of ``seldon_core/user_model.py``."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class SeldonResponse:
    """A result with tags and metrics of its own; of ``seldon_core/user_model.py``."""

    def __init__(
        self,
        data: Any,
        tags: dict[str, Any] | None = None,
        metrics: list[dict[str, Any]] | None = None,
    ) -> None:
        self.data = data
        self.tags = {} if tags is None else tags
        self.metrics = [] if metrics is None else metrics

    @classmethod
    def create(cls, data: Any) -> SeldonResponse:
        """Return a response as it is, and anything else as the data of one."""
        return data if isinstance(data, cls) else cls(data)


class SeldonComponent:
    """Base of components; of ``seldon_core/user_model.py``.

    There each method that a component may have is defined and raises SeldonNotImplementedError.
    """

    def __init__(self, **kwargs: Any) -> None: ...

    def load(self) -> None:
        """Load the model; a component overrides this."""


class Storage:
    """Model files by URI; of ``seldon_core/storage.py``, which knows local paths alone."""

    @staticmethod
    def download(uri: str, out_dir: str | None = None) -> str:
        """Return the path of local files; with ``out_dir``, links to them are there.

        Raise RuntimeError for a path that does not exist, and for any other URI.
        """
        local = Path(uri.removeprefix(_LOCAL))
        if not local.exists():
            is_remote = "://" in uri and not uri.startswith(_LOCAL)
            why = f"only local paths and {_LOCAL} are known" if is_remote else "no such path"
            raise RuntimeError(f"Storage cannot give {uri}: {why}")
        if out_dir is None:
            return str(local)
        target = Path(out_dir)
        target.mkdir(parents=True, exist_ok=True)
        for source in local.iterdir() if local.is_dir() else [local]:
            (target / source.name).symlink_to(source.resolve())
        return out_dir


def _left_out(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise SeldonNotImplementedError(f"{name} is not implemented")

    method.__name__, method.__module__ = name, f"{PACKAGE}.user_model"
    return method


for _name in (
    "tags", "class_names", "predict", "predict_raw", "send_feedback", "send_feedback_raw",
    "transform_input", "transform_input_raw", "transform_output", "transform_output_raw", "metrics",
    "feature_names", "route", "route_raw", "aggregate", "aggregate_raw", "health_status",
    "health_status_raw", "metadata", "init_metadata",
):  # fmt: skip
    setattr(SeldonComponent, _name, _left_out(_name))


def _metric(kind: str) -> Any:
    def create(key: str, value: float) -> dict[str, Any]:
        value + 1
        return {"key": key, "type": kind, "value": value}

    create.__name__ = f"create_{kind.lower()}"
    return create


def _module(name: str, content: Mapping[str, Any]) -> ModuleType:
    module = ModuleType(f"{PACKAGE}.{name}" if name else PACKAGE)
    vars(module).update(content)
    for one in content.values():
        if isinstance(one, type):
            one.__module__ = module.__name__
    return module


def _message(name: str) -> Any:
    """Return a message of ``seldon_core.proto.prediction_pb2``: protobuf is imported only then."""
    from anabranch.components.contracts.seldon.protos import message_type

    try:
        return message_type(name)
    except KeyError:
        raise AttributeError(f"Seldon's protocol has no message {name!r}") from None


def _util(name: str) -> Any:
    """Return a function of ``seldon_core.utils``, likewise."""
    from anabranch.components.contracts.seldon.standin_utils import FUNCTIONS

    if name not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise AttributeError(f"there is no {name!r} without the package (available: {known})")
    return FUNCTIONS[name]


def _modules() -> dict[str, ModuleType]:
    errors = {"SeldonMicroserviceException": SeldonMicroserviceException}
    classes = {
        "SeldonComponent": SeldonComponent,
        "SeldonNotImplementedError": SeldonNotImplementedError,
        "SeldonResponse": SeldonResponse,
    }
    kinds = {kind: kind for kind in ("COUNTER", "GAUGE", "TIMER")}
    makers = {f"create_{kind.lower()}": _metric(kind) for kind in kinds}
    messages = _module("proto.prediction_pb2", {"__getattr__": _message})
    parts = {
        "flask_utils": _module("flask_utils", errors),
        "user_model": _module("user_model", classes),
        "metrics": _module("metrics", kinds | makers),
        "storage": _module("storage", {"Storage": Storage}),
        "utils": _module("utils", {"__getattr__": _util}),
        "proto": _module("proto", {"prediction_pb2": messages, "__path__": []}),
    }
    # A package has a path; nothing else is found on this one.
    package = _module("", {**parts, "__path__": []})
    package.__dict__["Storage"] = Storage
    return {one.__name__: one for one in (package, *parts.values(), messages)}


_MODULES = _modules()


@contextmanager
def importable() -> Iterator[None]:
    """Let ``import seldon_core`` find these modules meanwhile, where the package is missing.

    The caller holds the lock of ``source.roots``, so no other bundle imports meanwhile.
    """
    if PACKAGE in sys.modules or find_spec(PACKAGE) is not None:
        yield
        return
    sys.modules.update(_MODULES)
    try:
        yield
    finally:
        for name in _MODULES:
            sys.modules.pop(name, None)
