"""Hooks on programs of ``torch.export``, which have operations where the model had modules.

A program is a graph of operations, of which each knows the modules that it came from. Two
rewritings give back what hooks need, in a copy of the graph that shares its weights: activations as
modules again, and the output of a layer through a module of its own.

TorchScript takes no hooks at all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn

from anabranch.components.contract import CannotLoad
from anabranch.specs.excerpts import hint, shown

_INSTEAD = (
    "write the model with torch.export, or explain a component that has its torch.nn.Module in "
    "the attribute `module`"
)
_Arguments = Mapping[str, Any]


def with_activations(module: Any) -> Any:
    """Return the module with its activations as modules, each used once.

    A module of Python passes unchanged: its activations are modules or they are not seen.
    CannotLoad for TorchScript.
    """
    _refuse_script(module)
    if not isinstance(module, fx.GraphModule):
        return module
    graph = copy.deepcopy(module.graph)
    found = fx.GraphModule(module, graph)
    activations = [node for node in graph.nodes if _name(node) in _MODULES]
    for number, node in enumerate(activations):
        _replace(found, node, f"activation_{number}")
    found.recompile()
    return found


def with_layer(module: Any, name: str) -> tuple[Any, Any]:
    """Return the module and the part of it that gives the output of the layer ``name``.

    CannotLoad for TorchScript, where there is no such layer, and where it has several outputs.
    """
    _refuse_script(module)
    if not isinstance(module, fx.GraphModule):
        return module, _submodule(module, name)
    graph = copy.deepcopy(module.graph)
    found = fx.GraphModule(module, graph)
    source = _output_of(graph, name)
    found.add_submodule("explained_layer", nn.Identity())
    with graph.inserting_after(source):
        tap = graph.call_module("explained_layer", (source,))
    source.replace_all_uses_with(tap, delete_user_cb=lambda user: user is not tap)
    found.recompile()
    return found, found.get_submodule("explained_layer")


def _refuse_script(module: Any) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise CannotLoad(f"it needs hooks, which TorchScript does not take: {_INSTEAD}")


def _submodule(module: nn.Module, name: str) -> nn.Module:
    layers: dict[str, nn.Module] = dict(module.named_modules())
    if name not in layers:
        raise CannotLoad(_no_layer(name, layers))
    return layers[name]


def _no_layer(name: str, layers: Iterable[str]) -> str:
    return f"the model has no layer {shown(name)}{hint(name, filter(None, layers))}"


def _layers_of(node: fx.Node) -> dict[str, str]:
    """Return the modules that an operation came from, and for each the run that it belongs to."""
    stack = node.meta.get("nn_module_stack") or {}
    return {path: run for run, (path, _) in stack.items()}


def _output_of(graph: fx.Graph, name: str) -> fx.Node:
    """Return the one operation of a layer whose result others use."""
    layers = {node: _layers_of(node) for node in graph.nodes if node.op == "call_function"}
    inside = {node for node, known in layers.items() if name in known}
    if not inside:
        raise CannotLoad(_no_layer(name, {one for known in layers.values() for one in known}))
    outputs: list[fx.Node] = [node for node in inside if not inside.issuperset(node.users)]
    runs = {layers[node][name] for node in inside}
    if len(outputs) != 1 or len(runs) != 1:
        raise CannotLoad(
            f"the layer {shown(name)} gives {len(outputs)} tensors in {len(runs)} runs; "
            "name one that gives a single tensor in a single run"
        )
    return outputs[0]


def _name(node: fx.Node) -> str:
    """Return the name of an operation; ``relu`` also for the one that writes over its input."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return ""
    packet = str(node.target.overloadpacket).removeprefix("aten.")
    return packet.removesuffix("_")


def _replace(found: fx.GraphModule, node: fx.Node, name: str) -> None:
    """Put a module in place of an operation."""
    arguments = _arguments(node)
    source, graph = arguments.pop("self"), node.graph
    found.add_submodule(name, _MODULES[_name(node)](arguments))
    with graph.inserting_after(node):
        new = graph.call_module(name, (source,))
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    if str(node.target).partition(".")[2].partition(".")[0].endswith("_"):
        _use_from_here_on(new, source)
    graph.erase_node(node)


def _use_from_here_on(new: fx.Node, old: fx.Node) -> None:
    """Let what comes later read ``new``: the operation had written its result into ``old``."""
    later = {node for node in old.users if new < node}
    old.replace_all_uses_with(new, delete_user_cb=lambda user: user in later)


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Return an operation's arguments by name."""
    assert isinstance(node.target, torch._ops.OpOverload)
    names = [argument.name for argument in node.target._schema.arguments]
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _pooling(cls: Callable[..., nn.Module]) -> Callable[[_Arguments], nn.Module]:
    def make(arguments: _Arguments) -> nn.Module:
        given = dict(arguments)
        return cls(given.pop("kernel_size"), given.pop("stride", None) or None, **given)

    return make


_MODULES: dict[str, Callable[[_Arguments], nn.Module]] = {
    "relu": lambda arguments: nn.ReLU(),
    "elu": lambda arguments: nn.ELU(**arguments),
    "leaky_relu": lambda given: nn.LeakyReLU(given.get("negative_slope", 0.01)),
    "sigmoid": lambda arguments: nn.Sigmoid(),
    "tanh": lambda arguments: nn.Tanh(),
    "softplus": lambda arguments: nn.Softplus(**arguments),
    "softmax": lambda arguments: nn.Softmax(arguments["dim"]),
    "max_pool1d": _pooling(nn.MaxPool1d),
    "max_pool2d": _pooling(nn.MaxPool2d),
    "max_pool3d": _pooling(nn.MaxPool3d),
}
"""Operations of which DeepLIFT treats the module apart: the module for an operation's arguments."""
