"""Fields that any component of an InferenceService has: times, batches, logs and replicas."""

from __future__ import annotations

from typing import Any

from anabranch.importers.fields import Fields
from anabranch.importers.kserve.pods import import_placement
from anabranch.importers.kserve.scaling import import_scaling
from anabranch.importers.loggers import log_destination, note_mode

_BATCH_SIZE, _BATCH_DELAY = 32, 5000
"""Defaults of ``pkg/batcher/handler.go``, the delay in milliseconds."""
_LARGEST_BATCH = 65_536
_LOGGER = {
    "metadataHeaders": "the log has the request's id, and no headers",
    "metadataAnnotations": "the language has no annotations",
    "storage": "logs go to files of the engine, HTTP or Kafka: `telemetry.requests.to`",
    "marshallerUrl": "logs are CloudEvents, or Parquet: `telemetry.requests.format`",
    "batchSize": "the engine gathers records itself",
    "batchInterval": "the engine gathers records itself",
}
_EXTENSIONS = {
    "storageContainerName": "the engine fetches models itself",
    "parallelism": "a component says itself how many calls it takes at once: `max_concurrency`",
    "deploymentStrategy": "a new revision takes over by `rollout`",
    "workerSpec": "a model over several machines needs a server that goes on",
    "multiNode": "a model over several machines needs a server that goes on",
}


def component_fields(part: Fields, *, is_remote: bool = False) -> dict[str, Any]:
    """Return the fields of a component's node; note those of the component and its pod.

    Of a server that goes on elsewhere, only the time of a call is the node's.
    """
    found: dict[str, Any] = {}
    seconds = part.whole("timeout")
    if seconds is not None and seconds > 0:
        part.same("`timeout` of the node", "timeout")
        found["timeout"] = f"{seconds}s"
    batching = _batching(part)
    if batching:
        found["batching"] = batching
    scaling = import_scaling(part)
    placement = import_placement(part)
    if is_remote:
        if scaling or placement:
            part.reworded("replicas and machines are those of the server that goes on")
    else:
        found |= {"scaling": scaling} if scaling else {}
        found |= {"placement": placement} if placement else {}
    _note_concurrency(part)
    for key in ("labels", "annotations"):
        part.leave_out({key: "of pods, which the engine has none of"})
    part.leave_out(_EXTENSIONS)
    return found


def request_log(part: Fields) -> dict[str, Any] | None:
    """Return ``telemetry.requests`` for the logger of a component; None if there is none."""
    if "logger" not in part.data:
        return None
    logger = part.within("logger")
    note_mode(logger)
    logger.leave_out(_LOGGER)
    found = log_destination(logger)
    logger.finish()
    return found


def canary_percent(part: Fields) -> int | None:
    """Return the percentage of ``canaryTrafficPercent``; None if it is left out."""
    percent = part.whole("canaryTrafficPercent")
    if percent is not None and not 0 <= percent <= 100:
        part.mistake(f"must be from 0 to 100, not {percent}", "canaryTrafficPercent")
        return None
    if percent is not None:
        said = (
            "`anabranch deploy --canary`, if a revision is there already; KServe, too, sends the "
            "first one all requests"
        )
        part.reworded(said, "canaryTrafficPercent")
    return percent


def _batching(part: Fields) -> dict[str, Any]:
    if "batcher" not in part.data:
        return {}
    batcher = part.within("batcher")
    size, delay = batcher.whole("maxBatchSize"), batcher.whole("maxLatency")
    batcher.leave_out({"timeout": "`timeout` of the node bounds a batch, too"})
    batcher.finish()
    for key, value, most in (
        ("maxBatchSize", size, _LARGEST_BATCH),
        ("maxLatency", delay, 3_600_000),
    ):
        if value is not None and not 0 <= value <= most:
            batcher.mistake(f"must be from 0 to {most}, not {value}", key)
    batcher.reworded("`batching` of the node; by rows, of all protocols")
    return {"max_size": size or _BATCH_SIZE, "max_delay": f"{delay or _BATCH_DELAY}ms"}


def _note_concurrency(part: Fields) -> None:
    limit = part.whole("containerConcurrency")
    if limit is None:
        return
    if limit < 0:
        part.mistake("must be at least 0", "containerConcurrency")
    elif limit == 0:
        part.reworded("0 is no limit", "containerConcurrency")
    elif limit == 1:
        part.reworded("a component is in one call at a time, unless it says otherwise",
                      "containerConcurrency")  # fmt: skip
    else:
        said = "a component says itself how many calls it takes at once: `max_concurrency`"
        part.left_out(said, "containerConcurrency")
