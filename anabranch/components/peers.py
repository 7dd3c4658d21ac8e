"""Servers that no spec may lead to, by the addresses that really answer.

A name may lead anywhere, to another place each time that it is looked up, and so may a redirect. So
the address is looked at once there is a connection, before anything of an answer is read.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias
from urllib.request import getproxies

import httpx

_Address: TypeAlias = IPv4Address | IPv6Address
Judge: TypeAlias = Callable[[_Address, str], str | None]
"""``problem``, or one that looks at less."""

_METADATA = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"))
)
"""Where clouds tell machines their secrets, beside the link-local addresses that all have: Alibaba,
Azure, Oracle, and AWS over IPv6."""


def problem_of(
    response: httpx.Response, host: str, direct: bool = True, judge: Judge | None = None
) -> str | None:
    """Return why the server that answers may not be asked for a URL of ``host``; None if it may.

    Where proxies of the environment may have passed the request on, and it is not ``direct``, only
    addresses in the URL itself tell. ``judge`` is ``problem`` unless another one is given.
    """
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    passed_on = not direct and bool(getproxies())
    address = _address(response.request.url.host if passed_on or not peer else peer[0])
    return None if address is None else (judge or problem)(address, host)


def problem(address: _Address, host: str) -> str | None:
    """Return why a server at an address may not be asked for a URL of ``host``; None if it may."""
    if address.is_loopback and not _names_loopback(host):
        return f"{host} leads to this machine ({address}); it must be named as localhost"
    return metadata_problem(address, host)


def metadata_problem(address: _Address, host: str) -> str | None:
    """Return why ``host`` may not lead to an address, whoever named it; None if it may."""
    if address.is_link_local or address in _METADATA:
        return f"{host} leads to {address}, an address of link-local and metadata services"
    return None


def _names_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(text: str) -> _Address | None:
    try:
        found = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
