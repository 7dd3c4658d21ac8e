"""Connects a process to a replica."""

from __future__ import annotations

import asyncio

from anabranch.router.between_nodes import of_client
from anabranch.serve.sockets import UNIX, split_address
from anabranch.serve.streams.greeting import GREETING_S
from anabranch.serve.streams.limits import CallLimits
from anabranch.serve.streams.link import Link
from anabranch.serve.streams.lost import CallLost


async def connect(
    address: str,
    name: str,
    secret: bytes,
    limits: CallLimits | None = None,
    timeout: float = GREETING_S,
) -> Link:
    """Return the link to the replica of segment ``name`` at ``unix@/path`` or ``host:port``.

    With TLS to the latter, where the engine has certificates for its nodes.

    Raises CallLost, of a call that has not run, where nobody answers there within ``timeout``
    seconds who knows the secret and speaks the same version.
    """
    link = Link(name, secret, limits or CallLimits())
    try:
        async with asyncio.timeout(timeout):
            await _open(address, link)
            await link.ready
    except (OSError, TimeoutError) as error:
        link.give_up()
        reason = f"it cannot be reached: {str(error) or 'it does not answer'}"
        raise CallLost(f"segment {name!r} cannot answer now: {reason}", False) from None
    except BaseException:
        link.give_up()
        raise
    return link


async def _open(address: str, link: Link) -> None:
    loop = asyncio.get_running_loop()
    if address.startswith(UNIX):
        await loop.create_unix_connection(lambda: link, address.removeprefix(UNIX))
        return
    await loop.create_connection(lambda: link, *split_address(address), **of_client())
