"""Reads YAML safely: positions for every key, and limits that act before anything is built.

The parser's events are composed here, without recursion, so that a hostile file costs no more
than its bytes. What makes the rest of a file meaningless (syntax, limits) raises a SpecError at
once; what does not (a repeated key, a tag) is kept in ``Document.problems``, so that ``checks``
can report it together with every other mistake.

JSON is YAML, so it can be read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from anabranch.errors import FieldPath, Position, Problem, SpecError
from anabranch.specs.excerpts import clean, quoted, safe_path
from anabranch.specs.scalars import Scalar, resolve
from anabranch.specs.syntax import syntax_problem

MAX_BYTES = 1 << 20
"""Largest spec, in bytes; with its aliases expanded it may have no more characters than this."""
MAX_DEPTH = 32
"""Deepest nesting of maps and lists."""
MAX_NODES = 60_000
"""Most maps, lists, keys and scalars, with aliases expanded. If all are wrong, saying so takes
about 1 KiB for each."""
MAX_ALIASES = 100
"""Most aliases."""
MAX_KEPT_PROBLEMS = 500
"""Most mistakes that are collected before reading stops."""
_MAX_DIRECTIVES = 8
"""Most lines that start with ``%``: parsers take quadratic time over directives."""

Data = dict[str, "Data"] | list["Data"] | Scalar
Mark = tuple[int, int]
Marks = dict[Any, "tuple[Mark, Marks | None]"]
"""For each key or index of a container: where it stands, and the marks of what it holds."""

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_DIRECTIVE = re.compile("^%", re.MULTILINE)
_TOO_DEEP = f"nested deeper than the limit of {MAX_DEPTH} levels"
_ESCAPED_PAIR = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
)
"""A character beyond U+FFFF as JSON escapes it; YAML has no such pairs."""


@dataclass(frozen=True)
class Document:
    """A spec as plain data, and where everything in it stands.

    ``problems`` holds the mistakes that did not stop the reading, such as repeated keys; a document
    with any is not valid, whatever its ``data`` says.
    """

    data: Data
    file: str = "<spec>"
    problems: tuple[Problem, ...] = ()
    _start: Mark = field(default=(0, 0), repr=False, compare=False)
    _marks: Marks | None = field(default=None, repr=False, compare=False)

    @classmethod
    def located(cls, data: Data, file: str, marks: Marks) -> Document:
        """Return a document of another syntax than YAML, with the places of its fields."""
        return cls(data, clean(file, 256), (), (0, 0), marks)

    def position(self, path: FieldPath) -> Position:
        """Where the key or item at ``path`` stands, or its nearest ancestor that exists."""
        mark, marks = self._start, self._marks
        for part in path:
            if marks is None or part not in marks:
                break
            mark, marks = marks[part]
        return _position(mark)

    def problem(self, path: FieldPath, message: str) -> Problem:
        """A Problem of this document; names in ``path`` are made safe to print."""
        return Problem(safe_path(path), message, self.position(path), self.file)


def read(path: Path) -> Document:
    """Read the spec in the file ``path``; a SpecError says what is wrong with it."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _error(str(path), f"cannot be read: {clean(reason)}", None) from None
    return parse(data, str(path))


def parse(data: bytes | str, file: str = "<spec>") -> Document:
    """Read a spec from UTF-8 bytes or text; ``file`` is what messages call it.

    Raises SpecError for what cannot be read: not UTF-8, not YAML, over a limit.
    """
    file = clean(file, 256)
    text = _decode(data, file)
    composer = _Composer(file)
    with _syntax_told(text, file, composer.problems):
        for event in yaml.parse(text, Loader=_PARSER):
            composer.take(event)
    return composer.document()


def parse_all(data: bytes | str, file: str = "<spec>") -> list[Document]:
    """Read every document of a text as ``parse`` reads one; those that are empty are left out.

    The limits hold for each document, and that on bytes for all of them together.
    """
    file = clean(file, 256)
    text = _decode(data, file)
    composers: list[_Composer] = []
    problems: list[Problem] = []
    with _syntax_told(text, file, problems):
        for event in yaml.parse(text, Loader=_PARSER):
            if isinstance(event, yaml.DocumentStartEvent):
                composers.append(_Composer(file))
            if composers:
                composers[-1].take(event)
                problems[:] = composers[-1].problems
    documents = [composer.document() for composer in composers]
    return [one for one in documents if one.data is not None]


@contextmanager
def _syntax_told(text: str, file: str, before: Sequence[Problem]) -> Iterator[None]:
    """Raise what the parser says as a SpecError, after the mistakes ``before`` it."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        raise SpecError([*before, _not_yaml(error, text, file)]) from None
    except yaml.YAMLError as error:
        raise _error(file, f"not valid YAML: {clean(str(error), 200)}", None) from None


def _decode(data: bytes | str, file: str) -> str:
    """The text of a spec, within the limits that can be checked before it is parsed."""
    _check_size(len(data), file)
    text = data if isinstance(data, str) else _decode_utf8(data, file)
    text = text.removeprefix("\ufeff")
    if bad := _FORBIDDEN.search(text):
        char = f"U+{ord(bad.group()):04X}"
        raise _error(file, f"the character {char} is not allowed", _place(text, bad.start()))
    if isinstance(data, str):
        _check_size(len(text.encode()), file)
    if text.lstrip()[:1] == "{":
        text = _ESCAPED_PAIR.sub(_join_pair, text)
    directives = [match.start() for match in _DIRECTIVE.finditer(text)]
    if len(directives) > _MAX_DIRECTIVES:
        place = _place(text, directives[_MAX_DIRECTIVES])
        raise _error(file, f"more than {_MAX_DIRECTIVES} lines that start with %", place)
    return text


def _join_pair(match: re.Match[str]) -> str:
    high, low = int(match[2], 16), int(match[3], 16)
    return match[1] + chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _check_size(size: int, file: str) -> None:
    if size > MAX_BYTES:
        raise _error(file, f"larger than the limit of {MAX_BYTES} bytes", None)


def _decode_utf8(data: bytes, file: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _error(file, "not UTF-8 but UTF-16 or UTF-32; save it as UTF-8", Position(1, 1))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        message = f"not UTF-8: the byte 0x{data[error.start]:02X} is out of place"
        raise _error(file, message, _place(before, len(before))) from None


def _place(text: str, index: int) -> Position:
    """Line and column of the character at ``index``."""
    start = text.rfind("\n", 0, index) + 1
    return Position(text.count("\n", 0, index) + 1, index - start + 1)


def _not_yaml(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    problem = syntax_problem(error, text, file)
    if "nesting depth" in str(error.problem):
        return Problem((), _TOO_DEEP, problem.position, file)
    return problem


def _position(mark: Mark) -> Position:
    return Position(mark[0] + 1, mark[1] + 1)


def _error(file: str, message: str, position: Position | None) -> SpecError:
    return SpecError([Problem((), message, position, file)])


@dataclass(slots=True)
class _Built:
    """A finished value, its marks, and what it weighs with its aliases expanded."""

    value: Any
    marks: Marks | None
    nodes: int = 1
    chars: int = 0
    height: int = 0
    """Levels of maps and lists."""


@dataclass(slots=True)
class _Frame:
    """A map or list that is still open. ``key`` is the key of a map that waits for its value."""

    built: _Built
    anchor: str | None
    key: str | None = None
    key_mark: Mark = (0, 0)

    def is_map(self) -> bool:
        return isinstance(self.built.value, dict)


class _Composer:
    """Composes data from parser events, one at a time."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Built] = {}
        self.problems: list[Problem] = []
        self._documents = self._nodes = self._chars = self._aliases = 0
        self._root = _Built(None, None)
        self._start: Mark = (0, 0)

    def take(self, event: yaml.Event) -> None:
        """Take the next event."""
        assert event.start_mark is not None
        mark = (event.start_mark.line, event.start_mark.column)
        match event:
            case yaml.ScalarEvent():
                self._scalar(event, mark)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event, mark)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                frame = self._stack.pop()
                self._add(frame.built, frame.anchor, mark)
            case yaml.AliasEvent():
                self._alias(event.anchor or "", mark)
            case yaml.DocumentStartEvent():
                self._document(mark)

    def document(self) -> Document:
        """The finished document."""
        return Document(
            self._root.value, self._file, tuple(self.problems), self._start, self._root.marks
        )

    def _document(self, mark: Mark) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop("a second document starts here; a file holds one graph", mark)

    def _open(self, event: yaml.CollectionStartEvent, mark: Mark) -> None:
        self._refuse_tag(event.tag, mark)
        self._count(1, 0, mark)
        self._limit_depth(len(self._stack) + 1, mark)
        frame = self._stack[-1] if self._stack else None
        if frame is None:
            self._start = mark
        elif frame.is_map() and frame.key is None:
            self._stop("a map or list cannot be a key; keys are text", mark)
        elif frame is not None and not frame.is_map():
            frame.key_mark = mark
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_Frame(_Built(value, {}, height=1), event.anchor))

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark) -> None:
        self._count(1, len(event.value), mark)
        self._refuse_tag(event.tag, mark)
        frame = self._stack[-1] if self._stack else None
        if _UNUSABLE.search(event.value):
            self._stop("NUL and lone surrogates are not allowed, not even escaped", mark)
        value = self._resolve(event, mark)
        if frame is not None and frame.is_map() and frame.key is None:
            self._key(frame, event, value, mark)
            return
        if frame is not None and not frame.is_map():
            frame.key_mark = mark
        self._add(_Built(value, None, chars=len(event.value)), event.anchor, mark)

    def _resolve(self, event: yaml.ScalarEvent, mark: Mark) -> Scalar:
        if event.style or event.tag is not None:
            return str(event.value)
        try:
            return resolve(event.value)
        except ValueError as error:
            self._stop(f"the number {quoted(event.value[:20])} {error}", mark)

    def _key(self, frame: _Frame, event: yaml.ScalarEvent, value: Scalar, mark: Mark) -> None:
        frame.key, frame.key_mark = event.value, mark
        frame.built.chars += len(event.value)
        frame.built.nodes += 1
        if event.anchor is not None:
            self._anchors[event.anchor] = _Built(value, None, chars=len(event.value))
        if not isinstance(value, str):
            name = clean(event.value)
            self._report(f"keys are text; quote this one: '{name}'", self._path(), mark)
        if event.value in frame.built.value:
            first = frame.built.marks[event.value][0] if frame.built.marks else mark
            message = f"this key is already used on line {first[0] + 1}"
            self._report(message, self._path(), mark)

    def _alias(self, name: str, mark: Mark) -> None:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            self._stop(f"more than {MAX_ALIASES} aliases", mark)
        target = self._anchors.get(name)
        if target is None:
            inside = any(frame.anchor == name for frame in self._stack)
            reason = "refers to a value that contains it" if inside else "has no anchor before it"
            self._stop(f"the alias {quoted('*' + name)} {reason}", mark)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.is_map() and frame.key is None:
            self._stop("an alias cannot be a key", mark)
        if frame is not None and not frame.is_map():
            frame.key_mark = mark
        self._count(target.nodes, target.chars, mark)
        self._limit_depth(len(self._stack) + target.height, mark)
        self._add(target, None, mark)

    def _add(self, built: _Built, anchor: str | None, mark: Mark) -> None:
        """Put a finished value where it belongs; a repeated key keeps its first value."""
        if anchor is not None:
            self._anchors[anchor] = built
        if not self._stack:
            self._root = built
            return
        frame = self._stack[-1]
        parent = frame.built
        key: str | int | None = frame.key if frame.is_map() else len(parent.value)
        frame.key = None
        parent.nodes += built.nodes
        parent.chars += built.chars
        parent.height = max(parent.height, built.height + 1)
        assert parent.marks is not None
        if key in parent.marks:
            return
        parent.marks[key] = (frame.key_mark, built.marks)
        if isinstance(parent.value, dict):
            parent.value[key] = built.value
        else:
            parent.value.append(built.value)

    def _path(self) -> FieldPath:
        return tuple(self._parts())

    def _parts(self) -> Iterator[str | int]:
        for frame in self._stack:
            if not frame.is_map():
                yield len(frame.built.value)
            elif frame.key is not None:
                yield frame.key

    def _count(self, nodes: int, chars: int, mark: Mark) -> None:
        self._nodes += nodes
        self._chars += chars
        if self._nodes > MAX_NODES:
            self._stop(f"more than the limit of {MAX_NODES} keys and values", mark)
        if self._chars > MAX_BYTES:
            self._stop(f"with aliases expanded, more than {MAX_BYTES} characters", mark)

    def _limit_depth(self, depth: int, mark: Mark) -> None:
        if depth > MAX_DEPTH:
            self._stop(_TOO_DEEP, mark)

    def _refuse_tag(self, tag: str | None, mark: Mark) -> None:
        if tag is not None:
            written = tag.replace("tag:yaml.org,2002:", "!!")
            self._report(f"the tag {quoted(written)} is not allowed; remove it", self._path(), mark)

    def _report(self, message: str, path: FieldPath, mark: Mark) -> None:
        """Keep a mistake and go on."""
        self.problems.append(Problem(safe_path(path), message, _position(mark), self._file))
        if len(self.problems) >= MAX_KEPT_PROBLEMS:
            raise SpecError(self.problems)

    def _stop(self, message: str, mark: Mark) -> NoReturn:
        """Give up, with this mistake after those before it."""
        last = Problem(safe_path(self._path()), message, _position(mark), self._file)
        raise SpecError([*self.problems, last])
