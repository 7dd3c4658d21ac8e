"""Reads environment variables: each by a parser, with a default, and an error that says it all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from anabranch.errors import AnabranchError, EngineError

T = TypeVar("T")


class Environment:
    """Variables that raise ``error`` where they are not what they must be."""

    def __init__(
        self, variables: Mapping[str, str], error: type[AnabranchError] = EngineError
    ) -> None:
        self._variables = variables
        self._error = error

    @property
    def home(self) -> Path:
        """Folder of all that the engine keeps."""
        return self.read("ANABRANCH_HOME", Path, Path("~/.anabranch")).expanduser().absolute()

    def text(self, name: str, default: str = "") -> str:
        """Return a variable as it is; ``default`` where it is not set, or empty."""
        return self._variables.get(name) or default

    def read(self, name: str, parse: Callable[[str], T], default: T, expected: str = "") -> T:
        """Return a variable as ``parse`` reads it; ``default`` where it is not set, or empty.

        Where ``parse`` raises ValueError the error names the variable, its value and what was
        ``expected``; without that, the variable and what ``parse`` says.
        """
        text = self.text(name)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            wrong = f"{name}={text[:256]!r} is not {expected}" if expected else f"{name}: {error}"
            raise self._error(wrong) from None


def number(least: float = 0.0, most: float = float("inf")) -> Callable[[str], float]:
    """Return a parser of finite numbers from ``least`` to ``most``."""

    def parse(text: str) -> float:
        value = float(text)
        if not (least <= value <= most and value < float("inf")):
            raise ValueError
        return value

    return parse


def listed(text: str) -> tuple[str, ...]:
    """Parse values that are separated by commas."""
    return tuple(one for part in text.split(",") if (one := part.strip()))
