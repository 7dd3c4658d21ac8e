"""Which machines of an engine take requests of clients."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

EXPECTED = "`every`, `head`, or labels such as zone=a,edge=yes"
"""What a text must be that tells it."""
_LABEL = re.compile(r"[A-Za-z0-9][\w./-]*=[\w.-]*")


@dataclass(frozen=True)
class Ingress:
    """The head's machine takes requests always; of the others ``every`` one, or those with all
    these ``labels``, or none.
    """

    every: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``EXPECTED`` says; ValueError for anything else."""
        if text in ("every", "head"):
            return cls(text == "every")
        pairs = text.split(",")
        if not all(map(_LABEL.fullmatch, pairs)):
            raise ValueError(text)
        return cls(False, dict(pair.split("=", 1) for pair in pairs))

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Return whether a machine with these labels, which is not the head's, takes requests."""
        if self.every:
            return True
        return bool(self.labels) and self.labels.items() <= labels.items()
