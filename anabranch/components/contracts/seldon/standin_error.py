"""The error with which components of Seldon's refuse a request."""

from __future__ import annotations

from typing import Any


class SeldonMicroserviceException(Exception):
    """An error with a status for the client; of ``seldon_core/flask_utils.py``."""

    status_code = 400

    def __init__(
        self,
        message: str,
        status_code: int | None = None,
        payload: Any = None,
        reason: str = "MICROSERVICE_BAD_DATA",
    ) -> None:
        super().__init__()
        self.message = message
        if status_code is not None:
            self.status_code = status_code
        self.payload = payload
        self.reason = reason

    def to_dict(self) -> dict[str, Any]:
        """Return the error as Seldon's status."""
        status = {"status": 1, "info": self.message, "code": -1, "reason": self.reason}
        return {"status": status}
