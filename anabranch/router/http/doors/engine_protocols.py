"""The protocols that an engine turns on for all its graphs, read from its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from anabranch.environment import Environment, listed
from anabranch.specs.models import PROTOCOLS, ProtocolName

VARIABLE = "ANABRANCH_PROTOCOLS"
_EXPECTED = f"`none`, or protocols out of {', '.join(PROTOCOLS)}"


def engine_protocols(env: Mapping[str, str] = os.environ) -> tuple[ProtocolName, ...]:
    """Return the protocols of all graphs; EngineError names a text that is not what it must be."""
    return Environment(env).read(VARIABLE, _parse, (), _EXPECTED)


def _parse(text: str) -> tuple[ProtocolName, ...]:
    found = () if text == "none" else listed(text)
    return tuple(dict.fromkeys(PROTOCOLS[PROTOCOLS.index(one)] for one in found))
