"""The text of GJSON paths: the first part of a path, and the paths of a selector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from anabranch.components.documents.gjson.modifiers import modifier_name
from anabranch.components.documents.gjson.queries import Query, read_query
from anabranch.components.documents.gjson.texts import MISSING, squashed, value_like

_NOT_SIMPLE = set("[]{}()#|!") | set(map(chr, range(32)))


@dataclass(frozen=True, slots=True)
class Part:
    """The first part of a path, as it is read in an object or in an array."""

    name: str
    rest: str | None = None
    """The path below what the part names; None where the part is the last one."""
    pipe: str | None = None
    """The path of which the result of this one is the document."""
    is_pattern: bool = False
    each: str | None = None
    """The path below each element of an array."""
    query: Query | None = None

    @property
    def index(self) -> int:
        """The place in an array; -1 for none."""
        is_number = self.name.isascii() and self.name.isdigit()
        return int(self.name) % 2**64 if is_number else -1


@lru_cache(maxsize=4096)
def object_part(path: str) -> Part:
    """Return the first part of a path below an object."""
    name, is_pattern, at = "", False, 0
    while at < len(path) and path[at] not in ".|":
        if path[at] == "\\":
            at += 1
        else:
            is_pattern = is_pattern or path[at] in "*?"
        name += path[at : at + 1]
        at += 1
    return Part(name, *_behind(path, at, True), is_pattern)


@lru_cache(maxsize=4096)
def array_part(path: str) -> Part:
    """Return the first part of a path below an array."""
    each = path[2:] if path.startswith("#.") else None
    query, at = None, 0
    if path.startswith(("#(", "#[")):
        query, at = read_query(path) or (Query(), len(path))
    while at < len(path) and path[at] not in ".|":
        at += 1
    is_plain = "#" not in path[:at]
    return Part(path[:at], *_behind(path, at, is_plain), each=each, query=query)


@lru_cache(maxsize=4096)
def split_pipe(path: str) -> tuple[str, str | None]:
    """Return what is before and behind the first pipe of a path; None without a pipe."""
    at = _pipe_place(path) if "|" in path else -1
    return (path, None) if at < 0 else (path[:at], path[at + 1 :])


def selectors(path: str) -> tuple[list[tuple[str, str]] | None, str]:
    """Return names and paths of the selector that a path begins with, and the rest of the path.

    None where its bracket is never closed.
    """
    found: list[tuple[str, str]] = []
    depth, colon, start, at = 1, 0, 1, 1
    while at < len(path):
        char = path[at]
        if char == "\\":
            at += 1
        elif char == '"':
            at += len(squashed(path[at:])) - 1
        elif char == ":" and not colon and depth == 1 and not _in_modifier(path[start:at]):
            colon = at
        elif char in "[({":
            depth += 1
        elif char in "])}":
            depth -= 1
        if depth == 0 or (char == "," and depth == 1):
            name = path[start:colon] if colon else ""
            found.append((name, path[colon + 1 if colon else start : at]))
            colon, start = 0, at + 1
        if depth == 0:
            return found, path[at + 1 :]
        at += 1
    return None, ""


def selected_key(name: str, path: str) -> str:
    """Return the key of what a selector finds at ``path``, to which it may give a name."""
    if name:
        quoted = value_like(name) if name[0] == '"' else MISSING
        return quoted if isinstance(quoted, str) and quoted else name
    last = path
    for at in range(len(path) - 1, -1, -1):
        if path[at] in "|." and not (at and path[at - 1] == "\\"):
            last = path[at + 1 :]
            break
    return "_" if _NOT_SIMPLE & set(last) else last


def _behind(path: str, at: int, is_plain: bool) -> tuple[str | None, str | None]:
    """Return the path below a part that ends at ``at``, and the path behind its pipe."""
    if at >= len(path):
        return None, None
    following = path[at + 1 :]
    is_pipe = is_plain and (modifier_name(following) is not None or following[:1] in ("[", "{"))
    return (None, following) if path[at] == "|" or is_pipe else (following, None)


def _in_modifier(text: str) -> bool:
    return ".@" in text or "|@" in text


def _pipe_place(path: str) -> int:
    if path[0] == "{":
        at = len(squashed(path[1:])) + 1
        return at if path[at : at + 1] == "|" else -1
    at = 0
    while at < len(path):
        if path[at] == "|":
            return at
        if path[at] == "\\":
            at += 1
        elif path.startswith((".#(", ".#["), at):
            at = _query_end(path, at + 2)
        elif path.startswith(".#", at):
            at += 2
        at += 1
    return -1


def _query_end(path: str, at: int) -> int:
    """Return where the bracket at ``at`` is closed."""
    start, end = path[at], ")" if path[at] == "(" else "]"
    depth = 0
    while at < len(path):
        if path[at] == "\\":
            at += 1
        elif path[at] == '"':
            at += len(squashed(path[at:])) - 1
        elif path[at] in (start, end):
            depth += 1 if path[at] == start else -1
            if depth == 0:
                break
        at += 1
    return at
