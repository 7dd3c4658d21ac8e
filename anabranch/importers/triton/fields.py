"""Notes on every field of a configuration, by where the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anabranch.errors import FieldPath
from anabranch.importers.result import Notes, Taken
from anabranch.importers.triton.tensors import datatype, full_shape

Said = tuple[Taken, str]
_STAYS: Said = (Taken.SAME, "stays with Triton, which runs the model")
_SEQUENCES = (
    "requests of a sequence carry `sequence_id`, `sequence_start` and `sequence_end` as "
    "parameters, which travel to Triton; nothing in a graph keeps a sequence on one server"
)
_DECOUPLED = (
    "a graph calls the model over HTTP for one answer, which Triton refuses for decoupled models"
)
REMOTE: Mapping[str, Said] = {
    "sequence_batching": (Taken.LEFT_OUT, _SEQUENCES),
    "name": (Taken.SAME, "the argument `model`"),
}
"""Fields of a model that stays on Triton; others stay with it."""
NO_SETTING = "the runtime onnx has no such setting"
LOCAL: Mapping[str, Said] = {
    "name": (Taken.SAME, "the name of the node"),
    "platform": (Taken.REWORDED, "`runtime: onnx`"),
    "backend": (Taken.REWORDED, "`runtime: onnx`"),
    "default_model_filename": (Taken.SAME, "the file of `model`"),
    "sequence_batching": (
        Taken.LEFT_OUT,
        "each request is answered by itself; a component may keep state by `context`",
    ),
    "response_cache": (
        Taken.LEFT_OUT,
        "a graph whose nodes are deterministic may have a `cache`",
    ),
    "metric_tags": (Taken.LEFT_OUT, "metrics have the labels graph, revision and node"),
    "model_metrics": (Taken.LEFT_OUT, "the buckets of histograms are the engine's"),
    "model_repository_agents": (Taken.LEFT_OUT, "a `sha256` guards a model that comes by URI"),
    "batch_input": (Taken.LEFT_OUT, "batches hold rows of equal shape, without further tensors"),
    "batch_output": (Taken.LEFT_OUT, "batches hold rows of equal shape, and are split by rows"),
}
"""Fields of a model that runs here; the runtime has no setting for others."""
ENSEMBLE: Mapping[str, Said] = {
    "name": (Taken.SAME, "the name of the graph"),
    "platform": (Taken.REWORDED, "the nodes of the graph"),
    "version_policy": (Taken.REWORDED, "each deploy makes a revision; deploy older ones first"),
    "metric_tags": LOCAL["metric_tags"],
    "model_metrics": LOCAL["model_metrics"],
    "model_repository_agents": LOCAL["model_repository_agents"],
    "response_cache": LOCAL["response_cache"],
    "dynamic_batching": (Taken.LEFT_OUT, "the models of the steps batch on Triton"),
    "parameters": (Taken.LEFT_OUT, "nothing reads parameters of an ensemble"),
}


def note_fields(
    notes: Notes, message: Any, told: Mapping[str, Said], other: Said, skip: tuple[str, ...] = ()
) -> None:
    """Note every field of a configuration but those in ``skip``, which somebody else notes."""
    for descriptor, value in message.ListFields():
        name = descriptor.name
        if name in ("input", "output"):
            for index, tensor in enumerate(value):
                for taken, path, text in _tensor_notes(tensor, message):
                    notes.add(taken, (name, index, *path), text)
        elif name == "max_batch_size":
            notes.add(Taken.REWORDED, (name,), _batch_text(value, told))
        elif name == "model_transaction_policy":
            taken, text = (Taken.LEFT_OUT, _DECOUPLED) if value.decoupled else _STAYS
            notes.add(taken, (name,), text)
        elif name not in skip:
            taken, text = told.get(name, other)
            notes.add(taken, (name,), text)


def stays(notes: Notes, message: Any) -> None:
    """Note every field of a model that stays on Triton."""
    note_fields(notes, message, REMOTE, _STAYS)


def _batch_text(most: int, told: Mapping[str, Said]) -> str:
    if most <= 0:
        return "tensors have no batch dimension"
    if told is LOCAL:
        return f"tensors begin with a batch dimension; a request of over {most} rows is not refused"
    return f"tensors begin with a batch dimension; Triton refuses more than {most} rows"


def _tensor_notes(tensor: Any, message: Any) -> Iterator[tuple[Taken, FieldPath, str]]:
    for descriptor, value in tensor.ListFields():
        name = descriptor.name
        if name == "name":
            shape = full_shape(tensor.dims, message)
            yield Taken.SAME, (), f"{value}: {datatype(tensor.data_type)}{shape}"
        elif name == "label_filename":
            said = "replies have no labels; the classification extension is not offered"
            yield Taken.LEFT_OUT, (name,), said
        elif name == "allow_ragged_batch" and value:
            said = "tensors of a batch have equal shapes but for the rows"
            yield Taken.LEFT_OUT, (name,), said
        elif name == "optional" and value:
            yield Taken.SAME, (name,), "`optional: true`"
        elif name == "reshape":
            said = "clients send and get `dims`; the shape is changed next to the model"
            yield Taken.SAME, (name,), said
