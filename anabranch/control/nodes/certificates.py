"""Tells the edges of other machines which certificates that of the head's machine has in force."""

from __future__ import annotations

import asyncio
import time

from anabranch.control.settings.settings import Settings
from anabranch.control.settings.tls import in_force
from anabranch.control.traffic.topic import PATIENCE_S
from anabranch.errors import Unavailable
from anabranch.serve.edge.tls.copies import VersionedCertificates

LOOK_S = 1.0
"""Time between two looks at the files of the head's machine, in seconds."""


async def certificates_of(
    settings: Settings, held: int, patience: float = PATIENCE_S
) -> VersionedCertificates:
    """Wait for certificates of another version than ``held``, at most ``patience`` seconds.

    Then they may be the same again. Unavailable where there are none.
    """
    copies, ends = in_force(settings.home, settings.tls), time.monotonic() + patience
    while True:
        try:
            found = VersionedCertificates.of(await asyncio.to_thread(copies.certificates))
        except OSError as error:
            raise Unavailable(f"no certificates are in force: {error.strerror}") from None
        if found.version != held or time.monotonic() >= ends:
            return found
        await asyncio.sleep(LOOK_S)
