"""Work on many items by replicas that hold something, through Ray Data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from anabranch.errors import JobError


@dataclass(frozen=True)
class ReplicaNeeds:
    """What a replica needs of a machine: processors, GPUs, and the environment that it runs in."""

    cpus: float
    gpus: float
    runtime_env: Mapping[str, Any]


def over_replicas(
    items: Sequence[Mapping[str, Any]],
    kind: type,
    arguments: Mapping[str, Any],
    replicas: int,
    needs: ReplicaNeeds,
) -> Iterator[dict[str, Any]]:
    """Yield what ``replicas`` objects of a ``kind`` make of items, one by one, in any order.

    Each object is made with the ``arguments`` and called with a batch, columns of one item. Ray
    starts one again where it dies, and gives it its item again. Raise JobError where the machines
    do not have what the replicas need, where one cannot start, and where a call raises.
    """
    if not items:
        return
    _check_room(replicas, needs)
    data: Any = _library()
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        yield from (
            data.from_items(list(items), override_num_blocks=len(items))
            .map_batches(
                kind,
                batch_size=1,
                concurrency=min(replicas, len(items)),
                fn_constructor_kwargs=dict(arguments),
                num_cpus=needs.cpus,
                num_gpus=needs.gpus,
                runtime_env=dict(needs.runtime_env),
            )
            .iter_rows()
        )
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise JobError(f"a replica of the job has failed: {lines[-1][:1000]}") from None


def _check_room(replicas: int, needs: ReplicaNeeds) -> None:
    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for name, each in (("CPU", needs.cpus), ("GPU", needs.gpus)):
        if replicas * each > there.get(name, 0):
            raise JobError(
                f"{replicas} replicas need {replicas * each:g} {name} together, and the machines "
                f"of the engine have {there.get(name, 0):g}"
            )


def _library() -> Any:
    try:
        import ray.data
    except ImportError as error:
        raise JobError(
            f"Ray Data, which replicas of a job need, cannot be imported ({error}): "
            "pip install 'anabranch[batch]'"
        ) from None
    return ray.data
