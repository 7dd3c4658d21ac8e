"""The error of a call that gets no answer.

Interrupted
└── CallLost    its connection was lost, or the replica did not begin it
"""

from __future__ import annotations

from typing import Any

from anabranch.errors import Interrupted, Unavailable


class CallLost(Interrupted):
    """A call has no answer from the replica that it was for, and will get none.

    ``may_have_run`` is False where the replica has not begun it, so any other may be asked. To
    further processes it is ``Interrupted``, or no more than ``Unavailable`` then.
    """

    def __init__(self, message: str, may_have_run: bool) -> None:
        self.may_have_run = may_have_run
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        kind = Interrupted if self.may_have_run else Unavailable
        return (kind, (str(self), self.retry_after))
