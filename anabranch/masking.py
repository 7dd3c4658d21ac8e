"""Secrets of a process, masked in the texts that leave it: lines of its log, and errors' texts."""

from __future__ import annotations

MASK = "***"
LEAST = 4
"""Shortest secret that is masked, in characters; a shorter one stands in texts by chance."""
_LEAST_LINE = 8
"""Shortest line of a secret of several lines that is masked by itself."""

_hidden: tuple[str, ...] = ()
"""Longest first, so that no rest of a secret stays which holds another one."""


def hide(secret: str) -> None:
    """Mask a secret, and each line of one that has several, in all texts from now on."""
    global _hidden
    lines = [line for line in secret.splitlines() if len(line) >= _LEAST_LINE]
    whole = [part for part in (secret, secret.strip()) if len(part) >= LEAST]
    _hidden = tuple(sorted({*_hidden, *whole, *lines}, key=len, reverse=True))


def masked(text: str) -> str:
    """Return a text without the secrets of this process."""
    for secret in _hidden:
        text = text.replace(secret, MASK)
    return text
