"""Actors of the engine that are bound to a machine, by the id that Ray gives its node."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import ray
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from anabranch.serve.calls.controller import NAMESPACE
from anabranch.serve.workers.environment import runtime_environment


def actors() -> list[str]:
    """Return the names of the engine's actors that have one; none outside of an engine."""
    if not ray.is_initialized():  # to ask would start a Ray
        return []
    every = list_named_actors(all_namespaces=True)
    return [one["name"] for one in every if one["namespace"] == NAMESPACE]


def start_on(machine: str, kind: type, name: str, *arguments: object) -> Any:
    """Start an actor on a machine, if none has its name; returns its handle at once.

    It outlives the process that starts it, and Ray starts it again there where it dies.
    """
    actor: Any = ray.remote(kind)
    configured = actor.options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        num_cpus=0,
        runtime_env=runtime_environment(),
        scheduling_strategy=NodeAffinitySchedulingStrategy(machine, soft=False),
    )
    return configured.remote(*arguments)


def ask(name: str, method: str, patience: float = 5.0) -> Any:
    """Return what a method of an actor answers; None if there is no actor, or it does not answer.

    It is waited for ``patience`` seconds at most.
    """
    with suppress(ValueError, ray.exceptions.RayError):
        actor: Any = ray.get_actor(name, NAMESPACE)
        return ray.get(getattr(actor, method).remote(), timeout=patience)
    return None


def stop(name: str, last: str, patience: float = 5.0) -> None:
    """End an actor for good, if there is one of this name.

    It answers a call of its method ``last`` before, for which it has ``patience`` seconds.
    """
    ask(name, last, patience)
    with suppress(ValueError):
        ray.kill(ray.get_actor(name, NAMESPACE))
