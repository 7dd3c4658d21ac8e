"""Arguments of a model server's command line."""

from __future__ import annotations

from anabranch.importers.fields import Fields


def arguments(fields: Fields) -> dict[str, str]:
    """Return options by name, with ``_`` for ``-``: ``--name=value`` and ``--name value``.

    An option without a value has the text ``true``.
    """
    found: dict[str, str] = {}
    waiting = ""
    for item in fields.data.get("args") or ():
        text = str(item).strip()
        if text.startswith("--"):
            name, equals, value = text[2:].partition("=")
            if not equals and " " in name:
                name, _, value = name.partition(" ")
            waiting = "" if value else name
            found[name.replace("-", "_")] = value.strip() or "true"
        elif waiting:
            found[waiting.replace("-", "_")] = text
            waiting = ""
    return found
