"""Nodes of ONNX models whose files are in the repository: they run in the graph, not on Triton."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anabranch.importers.result import Notes, Taken
from anabranch.importers.triton.fields import LOCAL, NO_SETTING, note_fields
from anabranch.importers.triton.repository import TritonModel
from anabranch.specs.excerpts import listing

THREADS = "intra_op_thread_count"
"""Parameter of Triton's ONNX Runtime backend that the runtime has as ``threads``."""
_KINDS = ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")


@dataclass
class LocalNode:
    """A node without its inputs and outputs, and further fields of the graph's spec."""

    node: dict[str, Any]
    spec: dict[str, Any] = field(default_factory=dict)


def local_node(model: TritonModel, file: Path, notes: Notes) -> LocalNode:
    """Return the node of the ONNX ``file``, and note every field of the configuration."""
    message = model.config.message
    node: dict[str, Any] = {
        "type": "predictor",
        "runtime": "onnx",
        "model": file.resolve().as_uri(),
    }
    found = LocalNode(node)
    args: dict[str, Any] = {"outputs": [one.name for one in message.output]}
    if message.parameters:
        args |= _parameters(message.parameters, notes)
    if args["outputs"] or len(args) > 1:
        node["args"] = {key: value for key, value in args.items() if value != []}
    _note_version(model, file, notes)
    if message.HasField("dynamic_batching"):
        _add_batching(node, message, notes)
    if message.instance_group:
        _add_instances(node, message.instance_group, notes)
    if message.model_warmup:
        _add_warmup(found.spec, message.model_warmup, notes)
    handled = ("dynamic_batching", "instance_group", "model_warmup", "parameters", "version_policy")
    note_fields(notes, message, LOCAL, (Taken.LEFT_OUT, NO_SETTING), skip=handled)
    said = f"the file is read in place, {file.name} of version {file.parent.name}: copy it beside "
    notes.reworded((), said + "`graph.yaml` and name it in `model`, so that it travels along")
    return found


def _parameters(parameters: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in sorted(parameters):
        value = parameters[name].string_value
        if name == THREADS and value.isdecimal() and int(value):
            found["threads"] = int(value)
            notes.reworded(("parameters",), f"{name}: the argument `threads`")
        else:
            notes.left_out(("parameters",), f"{name}: {NO_SETTING}")
    return found


def _note_version(model: TritonModel, file: Path, notes: Notes) -> None:
    others = [version for version in model.served() if str(version) != file.parent.name]
    if others:
        said = f"version {file.parent.name} is the graph; Triton serves {listing(map(str, others))}"
        notes.left_out(("version_policy",), f"{said} too: deploy each as a revision of its own")
    elif model.config.message.HasField("version_policy"):
        notes.reworded(("version_policy",), f"version {file.parent.name}, the newest it allows")


def _add_batching(node: dict[str, Any], message: Any, notes: Notes) -> None:
    batching, path = message.dynamic_batching, ("dynamic_batching",)
    if message.max_batch_size < 1:
        notes.left_out(path, "the model has no batch dimension, so Triton batches nothing either")
        return
    found: dict[str, Any] = {"max_size": message.max_batch_size}
    notes.reworded(path, f"`batching: {{max_size: {message.max_batch_size}}}`")
    for descriptor, value in batching.ListFields():
        at = (*path, descriptor.name)
        match descriptor.name:
            case "max_queue_delay_microseconds":
                found["max_delay"] = f"{value}us"
                notes.reworded(at, f"`max_delay: {value}us`")
            case "default_queue_policy":
                _add_queue(node, found, value, notes)
            case "priority_levels" | "default_priority_level":
                said = "requests with a smaller `priority` parameter go first, without a fixed "
                notes.reworded(at, said + "number of levels")
            case "preserve_ordering":
                notes.left_out(at, "replies come as they are ready, each to its own request")
            case "preferred_batch_size":
                said = "a batch has as many rows as wait when the model is free, up to `max_size`"
                notes.left_out(at, said)
            case _:
                notes.left_out(at, "one queue policy holds for all priorities")
    node["batching"] = found


def _add_queue(node: dict[str, Any], batching: dict[str, Any], policy: Any, notes: Notes) -> None:
    path = ("dynamic_batching", "default_queue_policy")
    if policy.max_queue_size:
        batching["max_queue"] = policy.max_queue_size
        notes.reworded((*path, "max_queue_size"), f"`max_queue: {policy.max_queue_size}`")
    if policy.default_timeout_microseconds:
        at = (*path, "default_timeout_microseconds")
        if policy.timeout_action:
            notes.left_out(at, "no request waits behind later ones for being late")
        else:
            node["timeout"] = f"{policy.default_timeout_microseconds}us"
            said = f"`timeout: {policy.default_timeout_microseconds}us` of the node, which bounds "
            notes.reworded(at, said + "the wait and the call together")
    if policy.allow_timeout_override:
        said = "a request's `timeout` parameter lowers the time of the whole request"
        notes.reworded((*path, "allow_timeout_override"), said)


def _add_instances(node: dict[str, Any], groups: Any, notes: Notes) -> None:
    count = 0
    for index, group in enumerate(groups):
        kind = _KINDS[group.kind]
        path = ("instance_group", index)
        if kind == "KIND_GPU" or group.gpus:
            notes.left_out(path, "the runtime onnx computes on the CPU")
        else:
            notes.reworded(path, f"{max(1, group.count)} of the node's `replicas`")
        for name in ("rate_limiter", "secondary_devices", "profile", "passive", "host_policy"):
            if any(one.name == name for one, _ in group.ListFields()):
                notes.left_out((*path, name), NO_SETTING)
        count += max(1, group.count)
    if count > 1:
        node["scaling"] = {"replicas": count}


def _add_warmup(spec: dict[str, Any], samples: Any, notes: Notes) -> None:
    requests, rows = 0, 1
    for index, sample in enumerate(samples):
        path = ("model_warmup", index)
        files = [one.input_data_file for one in sample.inputs.values() if one.input_data_file]
        if files:
            notes.left_out(path, f"its data, {listing(files)}, are raw tensors: write a request")
            continue
        requests += max(1, sample.count)
        rows = max(rows, sample.batch_size)
        notes.reworded(path, "`warmup` of the graph, with zeros")
    if requests:
        spec["warmup"] = {"requests": min(requests, 1000), "rows": min(rows, 65_536)}
