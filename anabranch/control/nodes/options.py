"""What whoever starts a machine of an engine says of it: its labels, resources and object store."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

from anabranch.control.nodes.node import INGRESS, MACHINE, OWN_LABELS
from anabranch.environment import listed
from anabranch.errors import EngineError
from anabranch.specs.units import parse_bytes

_WHOLE = {"CPU": "--num-cpus", "GPU": "--num-gpus"}
"""Resources with options of Ray's of their own, of which there are whole numbers."""
_NAME = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")
"""Names and values of Kubernetes' labels, whose rules Ray has."""
_PREFIX = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/")


@dataclass(frozen=True)
class MachineOptions:
    """Options of a machine.

    ``labels`` are ``name=value`` and ``resources`` ``name=amount``, by comma; the amount of memory
    is a size such as 8GiB. ``ingress`` says whether the machine takes requests of clients.
    """

    labels: str = ""
    resources: str = ""
    object_store: str = "512MiB"
    ingress: bool = True

    def arguments(self, machine: str) -> dict[str, object]:
        """The options of Ray's command line for what is started there under an id.

        EngineError names what is no label, resource or size.
        """
        own = {MACHINE: machine, INGRESS: str(self.ingress).lower()}
        labels = {**_labels(self.labels), **own}
        return {
            "--labels": ",".join(f"{name}={value}" for name, value in labels.items()),
            "--object-store-memory": size("--object-store", self.object_store),
            **_resources(self.resources),
        }


def size(option: str, text: str) -> int:
    """A size in bytes; EngineError names the option where it is none."""
    try:
        return int(parse_bytes(text))
    except ValueError as error:
        raise EngineError(f"{option}: {error}") from None


def _labels(text: str) -> dict[str, str]:
    found = _pairs("--labels", text, "zone=north,disk=ssd")
    for name, value in found.items():
        if name.startswith(OWN_LABELS):
            raise EngineError(
                f"--labels: {name!r} is no name for a label, since those that begin with"
                f" {' or '.join(OWN_LABELS)} are the engine's and Ray's"
            )
        prefix = _PREFIX.match(name)
        rest = name[prefix.end() :] if prefix else name
        for what, part in (("name", rest), ("value", value)):
            if not _NAME.fullmatch(part) and (what == "name" or part):
                raise EngineError(
                    f"--labels: {name}={value} has no {what} of at most 63 letters, digits and -._"
                    " that begins and ends with a letter or digit"
                )
    return found


def _resources(text: str) -> dict[str, object]:
    options: dict[str, object] = {}
    custom = {}
    for name, amount in _pairs("--resources", text, "CPU=8,licence=2").items():
        if name == "memory":
            options["--memory"] = size("--resources memory", amount)
        elif name in _WHOLE:
            options[_WHOLE[name]] = int(_amount(name, amount, whole=True))
        elif _NAME.fullmatch(name):
            custom[name] = _amount(name, amount)
        else:
            raise EngineError(
                f"--resources: {name!r} is no name of at most 63 letters, digits and -._; the"
                f" standard ones are {', '.join(_WHOLE)} and memory"
            )
    return options | ({"--resources": json.dumps(custom)} if custom else {})


def _amount(name: str, text: str, whole: bool = False) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not (0 <= amount < math.inf) or (whole and amount != int(amount)):
        wanted = "whole number" if whole else "number"
        raise EngineError(f"--resources: {name}={text} is no {wanted} of at least 0")
    return amount


def _pairs(option: str, text: str, example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in listed(text):
        name, equals, value = (part.strip() for part in one.partition("="))
        if not (name and equals):
            raise EngineError(f"{option}: {one!r} is not of the form {example}")
        if name in found:
            raise EngineError(f"{option} has {name!r} twice")
        found[name] = value
    return found
