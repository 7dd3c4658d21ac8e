"""Mistakes in configurations, as Triton finds them when it loads a model.

Source: ``src/model_config_utils.cc`` (single models, ``ValidateEnsembleSchedulingConfig``) and
``src/ensemble_scheduler/ensemble_utils.cc`` (an ensemble with its models) of
triton-inference-server/core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from anabranch.errors import FieldPath, Problem
from anabranch.importers.triton.config_text import ModelConfig
from anabranch.importers.triton.repository import Repository, TritonModel
from anabranch.importers.triton.tensors import agree, batches, full_shape, inner_sizes, type_name
from anabranch.specs.excerpts import hint, listing, shown

SCHEDULING = "ensemble_scheduling"
_NOT_FOR_ENSEMBLES = {
    "instance_group": "an ensemble has no instances of its own",
    "optimization": "an ensemble runs no model itself",
    "model_warmup": "warm up the models of its steps instead",
    "backend": "an ensemble has the platform `ensemble` and no backend",
}


def model_problems(model: TritonModel) -> Iterator[Problem]:
    """Find the mistakes in one configuration by itself."""
    config, message = model.config, model.config.message
    if message.max_batch_size < 0:
        yield config.refuse("max_batch_size", said="must be at least 0")
    for side in ("input", "output"):
        yield from _tensor_problems(config, side, model.is_ensemble)
    if message.HasField("dynamic_batching"):
        yield from _batching_problems(config)
    if message.response_cache.enable:
        for name in ("sequence_batching", "model_transaction_policy"):
            stateful = name == "sequence_batching" or message.model_transaction_policy.decoupled
            if message.HasField(name) and stateful:
                yield config.refuse("response_cache", said=f"cannot be used with `{name}`")


def _tensor_problems(config: ModelConfig, side: str, is_ensemble: bool) -> Iterator[Problem]:
    """Find mistakes in tensors; types that a model lacks are completed when Triton loads it."""
    seen: set[str] = set()
    for index, tensor in enumerate(getattr(config.message, side)):
        path = (side, index)
        if not tensor.name:
            yield config.refuse(*path, said="needs a `name`")
        if tensor.name in seen:
            yield config.refuse(*path, "name", said=f"{shown(tensor.name)} is there twice")
        seen.add(tensor.name)
        if not tensor.data_type and is_ensemble:
            yield config.refuse(*path, said="needs a `data_type`")
        if not tensor.dims and is_ensemble:
            yield config.refuse(*path, said="needs `dims`")
        if any(size < 1 and size != -1 for size in tensor.dims):
            yield config.refuse(*path, "dims", said="must be sizes of at least 1, or -1 for any")
        if tensor.HasField("reshape"):
            yield from _reshape_problems(config, tensor, path)


def _reshape_problems(config: ModelConfig, tensor: Any, path: tuple[str, int]) -> Iterator[Problem]:
    dims, sizes = list(tensor.dims), list(tensor.reshape.shape)
    if not sizes and not batches(config.message):
        yield config.refuse(*path, "reshape", said="is empty, which needs a batch dimension")
    elif any(size < 1 and size != -1 for size in sizes):
        said = "must have sizes of at least 1, or -1 for any"
        yield config.refuse(*path, "reshape", said=said)
    elif _trunks(dims) != _trunks(sizes):
        said = f"to {sizes} has another number of elements than `dims`, {dims}"
        yield config.refuse(*path, "reshape", said=said)


def _trunks(sizes: list[int]) -> list[int]:
    """Return the numbers of elements between the dimensions of any size."""
    found = [1]
    for size in sizes:
        if size == -1:
            found.append(1)
        else:
            found[-1] *= size
    return found


def _batching_problems(config: ModelConfig) -> Iterator[Problem]:
    batching, most = config.message.dynamic_batching, config.message.max_batch_size
    path = "dynamic_batching"
    for size in batching.preferred_batch_size:
        if not 0 < size <= most:
            said = f"{size} is not from 1 to `max_batch_size`, {most}"
            yield config.refuse(path, "preferred_batch_size", said=said)
    levels = batching.priority_levels
    if levels and not 1 <= batching.default_priority_level <= levels:
        said = f"must be from 1 to `priority_levels`, {levels}"
        yield config.refuse(path, "default_priority_level", said=said)
    for level in batching.priority_queue_policy:
        if levels and not 1 <= level <= levels:
            said = f"{level} is not from 1 to `priority_levels`, {levels}"
            yield config.refuse(path, "priority_queue_policy", said=said)
    if batching.preserve_ordering and levels > 1:
        yield config.refuse(path, "preserve_ordering", said="allows only one priority level")


@dataclass
class _Tensor:
    """A tensor of an ensemble: the steps that write and read it."""

    writer: int | None = None
    readers: list[int] = field(default_factory=list)


def ensemble_problems(model: TritonModel) -> Iterator[Problem]:
    """Find the mistakes in an ensemble's own configuration."""
    config, message = model.config, model.config.message
    if not message.HasField(SCHEDULING):
        yield config.refuse("platform", said="is `ensemble`, which needs `ensemble_scheduling`")
        return
    if message.platform != "ensemble":
        yield config.refuse(SCHEDULING, said="needs the platform `ensemble`")
    for name, reason in _NOT_FOR_ENSEMBLES.items():
        if any(descriptor.name == name for descriptor, _ in message.ListFields()):
            yield config.refuse(name, said=f"must not be set: {reason}")
    steps = message.ensemble_scheduling.step
    if not steps:
        yield config.refuse(SCHEDULING, said="needs at least one `step`")
    incomplete = list(_incomplete(config))
    yield from incomplete
    if steps and not incomplete:
        yield from _flow_problems(config)


def _incomplete(config: ModelConfig) -> Iterator[Problem]:
    for index, step in enumerate(config.message.ensemble_scheduling.step):
        for name in ("model_name", "input_map", "output_map"):
            if not getattr(step, name):
                yield config.refuse(SCHEDULING, "step", index, said=f"needs `{name}`")


def _flow_problems(config: ModelConfig) -> Iterator[Problem]:
    """Find tensors that are written twice, never, or for nothing."""
    message = config.message
    tensors: dict[str, _Tensor] = {}
    for index, step in enumerate(message.ensemble_scheduling.step):
        for name in step.output_map.values():
            tensor = tensors.setdefault(name, _Tensor())
            if tensor.writer is not None:
                said = f"tensor {shown(name)} is written by step {tensor.writer} already"
                yield config.refuse(SCHEDULING, "step", index, "output_map", said=said)
            else:
                tensor.writer = index
        for name in step.input_map.values():
            tensors.setdefault(name, _Tensor()).readers.append(index)
    inputs = {one.name for one in message.input}
    outputs = {one.name for one in message.output}
    for side, there in (("input", _read_by(tensors)), ("output", set(tensors))):
        for index, one in enumerate(getattr(message, side)):
            if one.name not in there:
                verb = "reads" if side == "input" else "writes"
                said = f"no step {verb} {shown(one.name)}{hint(one.name, sorted(there))}"
                yield config.refuse(side, index, "name", said=said)
    yield from _unready(config, tensors, inputs, outputs)


def _read_by(tensors: dict[str, _Tensor]) -> set[str]:
    return {name for name, tensor in tensors.items() if tensor.readers}


def _unready(
    config: ModelConfig, tensors: dict[str, _Tensor], inputs: set[str], outputs: set[str]
) -> Iterator[Problem]:
    steps = config.message.ensemble_scheduling.step
    written = [(name, one.writer) for name, one in tensors.items()]
    for name, writer in written:
        path = (SCHEDULING, "step", tensors[name].readers[0] if writer is None else writer)
        if writer is None and name not in inputs:
            said = f"nothing writes tensor {shown(name)}{hint(name, sorted(inputs))}"
            yield config.refuse(*path, "input_map", said=said)
        elif writer is not None and name in inputs:
            said = f"tensor {shown(name)} is an input of the ensemble"
            yield config.refuse(*path, "output_map", said=said)
        elif writer is not None and not tensors[name].readers and name not in outputs:
            said = f"nothing reads tensor {shown(name)}; remove it, or make it an output"
            yield config.refuse(*path, "output_map", said=said)
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(steps)))
    for tensor in tensors.values():
        if tensor.writer is not None:
            graph.add_edges_from((tensor.writer, reader) for reader in tensor.readers)
    for group in nx.strongly_connected_components(graph):
        first = min(group)
        if len(group) > 1 or graph.has_edge(first, first):
            models = listing(steps[index].model_name for index in sorted(group))
            said = f"the steps form a cycle: {models}"
            yield config.refuse(SCHEDULING, "step", first, "input_map", said=said)


@dataclass(frozen=True)
class _Declared:
    """The type that one model gives a tensor."""

    model: str
    data_type: int
    dims: list[int]
    full: list[int]


def _declared(model: str, tensor: Any, message: Any, reshaped: bool = False) -> _Declared:
    dims = list(inner_sizes(tensor) if reshaped else tensor.dims)
    return _Declared(model, tensor.data_type, dims, full_shape(dims, message))


def mapping_problems(model: TritonModel, repository: Repository) -> Iterator[Problem]:
    """Find steps that do not fit their models, for models with a configuration."""
    config, message = model.config, model.config.message
    types = {
        one.name: _declared(model.name, one, message, reshaped=True)
        for one in (*message.input, *message.output)
    }
    for index, step in enumerate(message.ensemble_scheduling.step):
        path = (SCHEDULING, "step", index)
        target = repository.models.get(step.model_name)
        if target is None or step.model_namespace:
            continue
        yield from _size_problems(config, path, target)
        yield from _version_problems(config, path, step, target)
        if not target.is_ensemble or target.name != model.name:
            yield from _step_problems(config, path, step, target, types)
    yield from _ensemble_cycle(model, repository)


def _size_problems(config: ModelConfig, path: FieldPath, target: TritonModel) -> Iterator[Problem]:
    most, own = target.config.message.max_batch_size, config.message.max_batch_size
    if most and most < own:
        said = f"model {shown(target.name)} takes at most {most} rows, the ensemble {own}"
        yield config.refuse(*path, said=said)


def _version_problems(
    config: ModelConfig, path: FieldPath, step: Any, target: TritonModel
) -> Iterator[Problem]:
    there = target.versions
    if step.model_version > 0 and there and step.model_version not in target.served():
        said = f"model {shown(target.name)} serves no version {step.model_version}"
        yield config.refuse(
            *path, "model_version", said=f"{said}, but {listing(map(str, target.served()))}"
        )


def _step_problems(
    config: ModelConfig,
    path: FieldPath,
    step: Any,
    target: TritonModel,
    types: dict[str, _Declared],
) -> Iterator[Problem]:
    message = target.config.message
    sides = (("input_map", message.input), ("output_map", message.output))
    for field_name, tensors in sides:
        known = {one.name: one for one in tensors}
        mapped = getattr(step, field_name)
        if not known:
            continue  # the backend completes the configuration when it loads the model
        for inner, name in sorted(mapped.items()):
            if inner not in known:
                what = field_name.removesuffix("_map")
                said = f"model {shown(target.name)} has no {what} {shown(inner)}"
                yield config.refuse(*path, field_name, said=said + hint(inner, sorted(known)))
                continue
            declared = _declared(target.name, known[inner], message)
            first = types.setdefault(name, declared)
            yield from _differences(config, (*path, field_name), name, first, declared)
        if field_name == "input_map":
            for name, one in known.items():
                if name not in mapped and not one.optional:
                    said = f"input {shown(name)} of model {shown(target.name)} is mapped to nothing"
                    yield config.refuse(*path, field_name, said=said)


def _differences(
    config: ModelConfig, path: FieldPath, name: str, one: _Declared, other: _Declared
) -> Iterator[Problem]:
    if not (one.data_type and other.data_type and one.dims and other.dims):
        return
    if one.data_type != other.data_type:
        said = (
            f"tensor {shown(name)} is {type_name(one.data_type)} by {shown(one.model)}, but "
            f"{type_name(other.data_type)} by {shown(other.model)}"
        )
        yield config.refuse(*path, said=said)
    elif not agree(one.dims, other.dims) and not agree(one.full, other.full):
        said = (
            f"tensor {shown(name)} has shape {one.full} by {shown(one.model)}, but {other.full} by "
            f"{shown(other.model)}"
        )
        yield config.refuse(*path, said=said)


def _ensemble_cycle(model: TritonModel, repository: Repository) -> Iterator[Problem]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    for name, one in repository.models.items():
        if one.is_ensemble:
            steps = one.config.message.ensemble_scheduling.step
            graph.add_edges_from((name, step.model_name) for step in steps)
    if model.name not in graph:
        return
    for index, step in enumerate(model.config.message.ensemble_scheduling.step):
        target = step.model_name
        if target == model.name or (target in graph and nx.has_path(graph, target, model.name)):
            path = [model.name, *nx.shortest_path(graph, target, model.name)]
            said = f"the ensembles form a cycle: {' → '.join(path)}"
            yield model.config.refuse(SCHEDULING, "step", index, "model_name", said=said)
