"""What is at a GJSON path of a document."""

from __future__ import annotations

from collections.abc import Iterator

from anabranch.components.documents.gjson.modifiers import DIG, MODIFIERS, read_modifier
from anabranch.components.documents.gjson.parts import (
    Part,
    array_part,
    object_part,
    selected_key,
    selectors,
    split_pipe,
)
from anabranch.components.documents.gjson.queries import Query, holds
from anabranch.components.documents.gjson.texts import MISSING, Value, balanced, matches, value_like

_CONSTANTS = {"true": True, "false": False, "null": None, "nan": "", "inf": ""}


def get(value: Value, path: str | None) -> Value:
    """Return what is at a path of a value; MISSING for nothing."""
    while path is not None:
        value, path = _step(value, path)
    return value


def _step(value: Value, path: str) -> tuple[Value, str | None]:
    """Return what is at a path up to its first pipe, and the path behind that."""
    if len(path) > 1 and path[0] in "@!":
        ran = _modified(value, path) if path[0] == "@" else _literal(path)
        if ran is not None:
            result, rest = ran
            return result, rest[1:] if rest.startswith((".", "|")) else None
    elif len(path) > 1 and path[0] in "[{":
        kind = path[0]
        chosen, path = selectors(path)
        if chosen is not None and path[:1] in ("", ".", "|"):
            return _selected(value, kind, chosen), path[1:] if path else None
    found = _Search()
    if path.startswith(".."):
        found.in_array([] if value is MISSING else [value], path[2:])
    else:
        found.below(value, path)
    return found.value, found.pipe


class _Search:
    """The search for what is at one path: what was found, and the path that goes on from it."""

    def __init__(self) -> None:
        self.value: Value = MISSING
        self.pipe: str | None = None

    def below(self, value: Value, path: str) -> bool:
        """Return whether the search ends below a value."""
        if isinstance(value, dict):
            return self._in_object(value, path)
        return isinstance(value, list) and self.in_array(value, path)

    def in_array(self, items: list[Value], path: str) -> bool:
        """Return whether the search ends in an array."""
        part = self._begun(array_part(path))
        if part.query is not None:
            return self._in_query(items, part, part.query)
        if part.name == "#":
            each = part.each
            return self._ended(len(items) if each is None else self._of_each(items, each))
        return 0 <= part.index < len(items) and self._at(items[part.index], part)

    def _in_object(self, fields: dict[str, Value], path: str) -> bool:
        part = self._begun(object_part(path))
        if not part.is_pattern:
            return part.name in fields and self._at(fields[part.name], part)
        matching = (value for key, value in fields.items() if matches(key, part.name))
        return any(self._at(value, part) for value in matching)

    def _in_query(self, items: list[Value], part: Part, query: Query) -> bool:
        matching = (item for item in items if _holds(query, item))
        if query.takes_all:
            found = [one for item in matching if (one := self._behind(item, part)) is not MISSING]
            self.value = found if self.value is MISSING else self.value
            return False
        return any(self._ended(self._behind(item, part)) for item in matching)

    def _of_each(self, items: list[Value], path: str) -> list[Value]:
        path = self._piped(path)
        return [one for item in items if (one := get(item, path)) is not MISSING]

    def _behind(self, item: Value, part: Part) -> Value:
        return item if part.rest is None else get(item, self._piped(part.rest))

    def _at(self, value: Value, part: Part) -> bool:
        return self._ended(value) if part.rest is None else self.below(value, part.rest)

    def _begun(self, part: Part) -> Part:
        if part.pipe is not None:
            self.pipe = part.pipe
        return part

    def _piped(self, path: str) -> str:
        """Return a path up to its pipe, behind which the search goes on."""
        path, pipe = split_pipe(path)
        if pipe is not None:
            self.pipe = pipe
        return path

    def _ended(self, value: Value) -> bool:
        self.value = value
        return True


def _holds(query: Query, item: Value) -> bool:
    if isinstance(item, list | dict):
        return holds(query, get(item, query.path))
    return not query.path and holds(query, item)


def _selected(value: Value, kind: str, chosen: list[tuple[str, str]]) -> Value:
    found = [
        (selected_key(name, path), one)
        for name, path in chosen
        if (one := get(value, path)) is not MISSING
    ]
    # Of two fields of one name GJSON finds the first.
    return dict(reversed(found)) if kind == "{" else [one for _, one in found]


def _modified(value: Value, path: str) -> tuple[Value, str] | None:
    """Return what the modifier that a path begins with makes of a value, and the remaining path."""
    read = read_modifier(path)
    if read is None:
        return None
    name, argument, rest = read
    if name == DIG:
        found = (get(one, argument) for one in _descendants(value))
        return [one for one in found if one is not MISSING], rest
    return MODIFIERS[name](value, argument), rest


def _descendants(value: Value) -> Iterator[Value]:
    """Return a value and all that is in it, each before what is in it."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        yield value
        if isinstance(value, dict):
            waiting += reversed(value.values())
        elif isinstance(value, list):
            waiting += reversed(value)


def _literal(path: str) -> tuple[Value, str] | None:
    """Return the literal, ``!value``, that a path begins with, and the remaining path."""
    text = path[1:]
    if text[0] in '{["+-0123456789':
        literal = balanced(text, 1, 1)
        return value_like(literal), text[len(literal) :]
    end = min((at for at in (text.find("."), text.find("|")) if at >= 0), default=len(text))
    name = text[:end].lower()
    return (_CONSTANTS[name], text[end:]) if name in _CONSTANTS else None
