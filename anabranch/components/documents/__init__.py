"""JSON documents in tensors of BYTES: built-ins that take them, and what conditions ask of them.

Nothing here asks a server; the runtime ``rest`` does.
"""

from __future__ import annotations

from anabranch.components.documents.object import JsonObject
from anabranch.components.documents.success import RequireSuccess

__all__ = ["JsonObject", "RequireSuccess"]
