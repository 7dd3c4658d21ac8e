"""A store on which no controller acts, seen by machines that could start one.

Such a machine watches the beat of the lease, by its own clock alone. Once the beat has stood still
for long enough, the machine claims the store: it frees the lease with another beat, which those who
watch beside it see. So one of them starts a controller, and shows meanwhile that it is at work.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anabranch.control.store.database import Database
from anabranch.control.store.lease import FREE, read_lease, write_lease
from anabranch.errors import Unavailable


class Vacancy:
    """Watches the lease of a store, and claims it after ``patience`` seconds without a beat."""

    def __init__(
        self, database: Database, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._patience = patience
        self._clock = clock
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0

    def claim(self) -> bool:
        """Look once; return whether the store is this one's now.

        A database that does not answer has kept controllers from beating too: Unavailable, and
        the time counts from the next answer.
        """
        try:
            with self._database.write(fenced=False) as connection:
                found = read_lease(connection)
                if not self._is_silent(found):
                    return False
                write_lease(connection, FREE, found[1] + 1)
        except Unavailable:
            self._seen = None
            raise
        return True

    def _is_silent(self, found: tuple[str, int]) -> bool:
        now = self._clock()
        if found != self._seen:
            self._seen, self._seen_at = found, now
        return now - self._seen_at >= self._patience

    def keep(self) -> None:
        """Show that a controller is being started; does nothing once one has the lease."""
        with self._database.write(fenced=False) as connection:
            holder, beat = read_lease(connection)
            if holder == FREE:
                write_lease(connection, FREE, beat + 1)
