"""Whether machines have room for a segment's replicas, and the words for what they lack. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from anabranch.control.nodes.node import IMPLICIT, ClusterLook, Demand, Node
from anabranch.specs.units import Size

ADDRESS = "node:"
"""Beginning of the resource that every machine has of its own, by which replicas are held on it."""
_ACCELERATOR = "accelerator_type:"
_MOST_NAMED = 8


@dataclass(frozen=True)
class Need:
    """What a replica asks for: amounts as in Ray, and a selector of labels."""

    resources: Mapping[str, float] = field(default_factory=dict)
    selector: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None
    """Most replicas of the segment on one machine; None without a bound."""

    @classmethod
    def of(cls, options: Mapping[str, Any], most: int | None = None) -> Need:
        """The need of a replica, from Ray's options of its actor and the most on one machine."""
        accelerator = options.get("accelerator_type")
        amounts = {
            "CPU": options.get("num_cpus"),
            "GPU": options.get("num_gpus"),
            "memory": options.get("memory"),
            **({f"{_ACCELERATOR}{accelerator}": 0.001} if accelerator else {}),
            **(options.get("resources") or {}),
        }
        found = {name: float(amount) for name, amount in amounts.items() if amount}
        return cls(found, options.get("label_selector") or {}, most)

    def fits(self, amounts: Mapping[str, float], machine: Node) -> bool:
        """Return whether a machine with these amounts can take the replica."""
        enough = all(amounts.get(name, 0) >= size for name, size in self.resources.items())
        return enough and _has(machine, self.selector)

    def is_in(self, demands: Iterable[Demand]) -> bool:
        """Return whether Ray has not placed what has this need."""
        labels = _constraints(self.selector)
        shape = _rounded(self.resources), self.most is not None
        return any(
            _constraints(one.labels) == labels and _shape(one.resources) == shape for one in demands
        )

    def __str__(self) -> str:
        return ", ".join(_words(self)) or "a machine"


_Constraint: TypeAlias = tuple[str, bool, frozenset[str]]
"""A label's key, whether the values are those that it may have, and the values."""


def _has(machine: Node, selector: Mapping[str, str]) -> bool:
    """Return whether a machine has the labels of a selector, as Ray takes it."""
    wanted = _constraints(selector)
    return all((machine.labels.get(key) in values) is is_in for key, is_in, values in wanted)


def _constraints(selector: Mapping[str, str]) -> frozenset[_Constraint]:
    return frozenset(_constraint(key, text) for key, text in selector.items())


def _constraint(key: str, text: str) -> _Constraint:
    values = text.removeprefix("!")
    if values.startswith("in("):
        values = values[len("in(") : -1]
    return key, not text.startswith("!"), frozenset(values.split(","))


def _shape(resources: Mapping[str, float]) -> tuple[dict[str, float], bool]:
    """Return amounts without the bound on a machine's replicas, and whether there is one."""
    plain = {n: size for n, size in resources.items() if not n.startswith(IMPLICIT)}
    return _rounded(plain), len(plain) < len(resources)


def _rounded(amounts: Mapping[str, float]) -> dict[str, float]:
    """Return amounts in the precision of Ray."""
    return {name: round(size, 4) for name, size in amounts.items()}


def _words(need: Need) -> Iterator[str]:
    kinds = [n.removeprefix(_ACCELERATOR) for n in need.resources if n.startswith(_ACCELERATOR)]
    for name, size in need.resources.items():
        if name.startswith(_ACCELERATOR):
            if "GPU" not in need.resources:
                yield f"an accelerator of type {kinds[0]}"
        elif name.startswith(ADDRESS):
            yield f"the machine at {name.removeprefix(ADDRESS)}"
        elif name == "GPU" and kinds:
            yield f"{size:g} GPU of type {kinds[0]}"
        else:
            yield _amount(name, size)
    yield from (f"a machine with {key}: {wanted}" for key, wanted in need.selector.items())


def _amount(name: str, size: float) -> str:
    return f"{Size(int(size))} of memory" if name == "memory" else f"{size:g} {name}"


def usable(found: ClusterLook) -> list[Node]:
    """Return the machines on which Ray places replicas."""
    return [one for one in found.nodes if one.state == "alive"]


def lacking(need: Need, replicas: int, machines: Sequence[Node]) -> str:
    """Return why machines can never run as many replicas; empty if they can."""
    able = [machine for machine in machines if need.fits(machine.total, machine)]
    if not able:
        return f"asks for {need}, which no machine has; {_offers(need, machines)}"
    if need.most == 1 and len(able) < replicas:
        return (
            f"asks for {replicas} machines for its {replicas} replicas (`spread: node`), and "
            f"{len(able)} can take one: {', '.join(map(_called, able))}"
        )
    return ""


def hindrance(need: Need, machines: Sequence[Node]) -> str:
    """Return why Ray has not placed a replica; the words stay the same while it waits for that."""
    able = [machine for machine in machines if need.fits(machine.total, machine)]
    if not able:
        return "no machine has it"
    if need.most is not None and any(need.fits(machine.available, machine) for machine in able):
        if need.most == 1:
            return "each machine that could take it has one already (`spread: node`)"
        return f"each machine that could take it has {need.most} already"
    return f"it is taken on {', '.join(map(_called, able[:_MOST_NAMED]))}"


def _offers(need: Need, machines: Sequence[Node]) -> str:
    """Return what machines have of a need, those with the most free first."""
    names = [name for name in need.resources if not name.startswith(ADDRESS)]
    ordered = sorted(machines, key=lambda one: [-one.available.get(name, 0) for name in names])
    told = [f"{_called(one)} has {_offer(one, names, need)}" for one in ordered[:_MOST_NAMED]]
    more = len(machines) - len(told)
    return "; ".join([*told, *([f"and {more} more machines"] if more else [])])


def _offer(machine: Node, names: Sequence[str], need: Need) -> str:
    amounts = []
    for name in names:
        total, free = machine.total.get(name, 0), machine.available.get(name, 0)
        if name.startswith(_ACCELERATOR):
            amounts.append(f"{'the' if total else 'no'} type {name.removeprefix(_ACCELERATOR)}")
        else:
            left = "" if free >= total else f" ({_amount(name, free)} free)"
            amounts.append(_amount(name, total) + left)
    labels = [f"{key}: {machine.labels.get(key, '-')}" for key in need.selector]
    return ", ".join([*amounts, *labels]) or "none of it"


def _called(machine: Node) -> str:
    return f"{machine.name} ({machine.address})"
