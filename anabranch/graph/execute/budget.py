"""Retry budget of a node, and the pause before each retry: pure decisions.

Retries help where failures are few, and make an overload worse where they are many. So they are
paid for by requests, as in Finagle (``RetryBudget``) and gRPC (``retryThrottling``, proposal A6):
each request brings a fifth of a retry into a bucket, and a node whose bucket is empty fails at
once. Whatever happens, a node is called at most ``1.2 n + START`` times for ``n`` requests.

The pauses are those of "Exponential Backoff And Jitter" (M. Brooker, AWS Architecture Blog, 2015),
with full jitter, so that requests that failed together do not come back together.
"""

from __future__ import annotations

PER_REQUEST = 5
"""Requests that pay for one retry: a budget of 20 %."""
START = 10
"""Retries that a node has before it has seen any request."""
LARGEST = 100
"""Most retries that can be saved up, so that calm hours do not pay for a storm."""
FIRST_PAUSE = 0.025
"""Longest pause before the first retry, in seconds; it doubles with each further one."""
LONGEST_PAUSE = 1.0
"""Longest pause before any retry, in seconds."""


class RetryBudget:
    """A token bucket that requests fill and retries empty."""

    __slots__ = ("_requests",)

    def __init__(self) -> None:
        self._requests = START * PER_REQUEST

    def request(self) -> None:
        """Note a request, its first attempt."""
        if self._requests < LARGEST * PER_REQUEST:
            self._requests += 1

    def take(self) -> bool:
        """Pay for one retry, if there is enough left."""
        if self._requests < PER_REQUEST:
            return False
        self._requests -= PER_REQUEST
        return True


def pause(retry: int, draw: float, remaining: float | None) -> float | None:
    """Seconds to wait before the retry of that number, which counts from 0.

    ``draw`` is a random number of at least 0 and below 1, ``remaining`` the time that the request
    has left in seconds (None: no end). None means that the time would be over: no retry.
    """
    seconds = draw * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**retry)
    return seconds if remaining is None or seconds < remaining else None
