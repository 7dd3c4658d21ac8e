"""Where a machine finds its engine: at the URL by which it has joined, or on one of its machines.

Another machine may have taken the place of the head's (``standby``). So each machine remembers, in
its home, where the others are, and asks them all once the engine does not answer any more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from anabranch.client.http import EngineUnreachable, Json
from anabranch.control.engine.joining.invitation import MACHINES_FILE, Invitation
from anabranch.errors import AnabranchError, Unavailable
from anabranch.files import replace_file

_SILENT = (EngineUnreachable, Unavailable)
"""Errors of machines on which no controller answers."""
_TIMEOUT_S = 8.0
"""Time that a machine has to answer, in seconds; the supervisor that asks must beat after twice
that time."""
_MOST = 32
"""Machines that are asked at a time."""


class EngineFound(NamedTuple):
    """Where the engine answers, and its machines."""

    invitation: Invitation
    nodes: list[Json]

    @property
    def own(self) -> Json | None:
        """The machine that asks, as the engine sees it; None if it does not."""
        return self.invitation.among(self.nodes)


class EngineSearch:
    """Finds the engine of a home; ``port`` is that of HTTP on all of its machines."""

    def __init__(self, home: Path, invitation: Invitation, port: str) -> None:
        self._file = home / MACHINES_FILE
        self._invitation = invitation
        self._port = port
        self._last = invitation.url
        self._others = _read(self._file)

    def find(self) -> EngineFound | None:
        """Ask where the engine answered last, and then everywhere; None where nobody answers.

        Raises as requests do where it refuses to answer.
        """
        answers = [self._asked(self._last)]
        if isinstance(answers[0], _SILENT):
            answers += self._asked_of(self._invitation.url, *self._others)
        refusals = list[AnabranchError]()
        for one in answers:
            if isinstance(one, EngineFound):
                self._remember(one)
                return one
            if not isinstance(one, _SILENT):
                refusals.append(one)
        if refusals:
            raise refusals[0]
        return None

    def _asked_of(self, *urls: str) -> Iterator[EngineFound | AnabranchError]:
        wanted = [one for one in dict.fromkeys(urls) if one != self._last]
        with ThreadPoolExecutor(_MOST) as threads:
            yield from threads.map(self._asked, wanted)

    def _asked(self, url: str) -> EngineFound | AnabranchError:
        invitation = replace(self._invitation, url=url)
        try:
            return EngineFound(invitation, invitation.nodes(_TIMEOUT_S))
        except AnabranchError as error:
            return error

    def _remember(self, found: EngineFound) -> None:
        """An engine that does not know this machine may not know the others either."""
        self._last = found.invitation.url
        if found.own is None:
            return
        machine, scheme = self._invitation.machine, urlsplit(self._last).scheme
        others = sorted(
            f"{scheme}://{one['address']}:{self._port}"
            for one in found.nodes
            if one["machine"] != machine and one["state"] == "alive"
        )
        if others != self._others:
            self._others = others
            replace_file(self._file, json.dumps(others) + "\n")


def _read(file: Path) -> Sequence[str]:
    try:
        found: list[str] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return []
    return found
