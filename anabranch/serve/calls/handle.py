"""Calls through Serve's handles, which find a replica, or wait until there is one."""

from __future__ import annotations

import asyncio
from typing import Any

from anabranch.serve.calls.failures import translated

Handle = Any
"""A Serve deployment handle: its methods are made up at run time."""


async def ask(name: str, method: Handle, *args: Any) -> Any:
    """Call a method of a replica through its handle; cancelling this cancels it there.

    Errors of Ray become ours, in which the callee goes by ``name``.
    """
    with translated(name):
        response = method.remote(*args)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise
