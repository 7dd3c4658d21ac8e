"""The parts of an answer beside its outputs, for protocols that have few fields for them.

Decisions about a request (the parameter ``routing``) are left out, so that an answer looks the same
with and without a candidate: feedback goes by the id of the request instead.
"""

from __future__ import annotations

from typing import Any

from anabranch.router.errors import Headers
from anabranch.router.inference.contract import InferenceResponse
from anabranch.router.traffic.decisions import ROUTING

REVISION = b"anabranch-revision"


def revision_header(response: InferenceResponse) -> Headers:
    """Return the header with the number of the revision that made a response."""
    return ((REVISION, response.model_version.encode()),)


def parameters_field(response: InferenceResponse) -> dict[str, Any]:
    """Return the field ``parameters`` with those of a response; no field where it has none."""
    found = {name: value for name, value in response.parameters.items() if name != ROUTING}
    return {"parameters": found} if found else {}
