"""The control API's endpoints that take the models which portable bundles bring along."""

from __future__ import annotations

import asyncio

from anabranch.control.api.endpoints import (
    ApiAnswer,
    ApiCall,
    Guarded,
    Routes,
    answer,
    whole_number,
)
from anabranch.control.release.blobs import BlobStore

_LARGEST = 2**53
"""Largest number of bytes that JSON carries exactly."""


class ArtefactApi:
    """Takes models in pieces, before the bundle that pins them is deployed.

    | method | path | answers |
    |---|---|---|
    | GET | ``/artefacts/<sha256>`` | ``{"have": bytes that came, "complete": whether all did}`` |
    | PUT | ``/artefacts/<sha256>?size=&offset=`` | the same, after the piece in the body |

    A piece is taken if ``offset`` is the number of bytes that came before; else nothing changes,
    and the sender goes on from ``have``.
    """

    def __init__(self, blobs: BlobStore, most: int) -> None:
        self._blobs, self._most = blobs, most
        methods = {"GET": self._show, "PUT": self._take}
        guarded = {name: Guarded("deploy", one, somewhere=True) for name, one in methods.items()}
        self.routes: Routes = {"/artefacts/(?P<digest>[0-9a-f]{64})": guarded}

    async def _show(self, call: ApiCall) -> ApiAnswer:
        return _answer(*await asyncio.to_thread(self._blobs.received, call.digest))

    async def _take(self, call: ApiCall) -> ApiAnswer:
        size = whole_number(call.query, "size", 0, _LARGEST)
        offset = whole_number(call.query, "offset", 0, _LARGEST)
        have, is_complete = await asyncio.to_thread(
            self._blobs.receive, call.digest, size, offset, call.body, self._most
        )
        return _answer(have, is_complete)


def _answer(have: int, is_complete: bool) -> ApiAnswer:
    return answer(200, {"have": have, "complete": is_complete})
