"""The error of a call that gets no answer.

Unavailable
└── CallLost    its connection was lost, or the replica did not begin it
"""

from __future__ import annotations

from typing import Any

from anabranch.errors import Unavailable


class CallLost(Unavailable):
    """A call has no answer from the replica that it was for, and will get none.

    ``may_have_run`` is False where the replica has not begun it, so any other may be asked. To
    further processes it is no more than ``Unavailable``.
    """

    def __init__(self, message: str, may_have_run: bool) -> None:
        self.may_have_run = may_have_run
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Unavailable, (str(self), self.retry_after))
