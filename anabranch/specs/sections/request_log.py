"""Rules over several fields of a request log."""

from __future__ import annotations

from collections.abc import Iterator

from anabranch.errors import Mistake
from anabranch.specs.excerpts import did_you_mean
from anabranch.specs.unvalidated import Map, as_list, as_map

FILE = "file"
"""Where a log goes that is a folder of the engine."""


def request_log_rules(spec: Map) -> Iterator[Mistake]:
    """Every rule that the request log of ``spec`` breaks; its parts may be anything."""
    log = as_map(as_map(spec.get("telemetry")).get("requests"))
    tensors = [name for part in ("inputs", "outputs") for name in as_map(spec.get(part))]
    recorded = _recorded(spec, log)
    for index, name in enumerate(as_list(log.get("redact"))):
        if isinstance(name, str) and tensors and name not in (*tensors, *recorded):
            hint = did_you_mean(name, [*tensors, *recorded])
            yield ("redact", index), f"the graph has no input or output of this name{hint}"
    if "format" in log and log.get("to", FILE) != FILE:
        yield ("format",), "is of files; remove it, or log to `file`"


def _recorded(spec: Map, log: Map) -> list[str]:
    """Return the declared outputs of the nodes whose values are logged."""
    names = [str(source).partition(".")[0] for source in as_list(log.get("nodes"))]
    nodes = [as_map(as_map(spec.get("nodes")).get(name)) for name in names]
    return [output for node in nodes for output in as_map(node.get("outputs"))]
