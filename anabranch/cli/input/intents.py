"""The intent of a deploy, from the options of ``deploy``."""

from __future__ import annotations

from typing import Any

import typer

from anabranch.client.bundle import intents


def intent(**options: Any) -> intents.Json | None:
    """Return the intent of options; None leaves it to the spec. Raise BadParameter for options
    that exclude each other.
    """
    try:
        return intents.intent(**options, shown=lambda field: f"--{field}")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
