"""Reads ``config.pbtxt``: its message, and the position of every field in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor

from anabranch.errors import Position, Problem, SpecError
from anabranch.importers.manifests import Manifest
from anabranch.importers.triton.messages import MESSAGES, PACKAGE, model_config
from anabranch.specs.excerpts import clean, hint, shown
from anabranch.specs.loader import MAX_BYTES, MAX_DEPTH, Document, Mark, Marks

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<open>[{<])|(?P<close>[}>])|(?P<word>[-+.\w/]+)|(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_PLACEHOLDER = re.compile(r"\$\{?\w+\}?|\{\{[^}]*\}\}")
_UNKNOWN = re.compile(r'"(?P<message>[^"]*)" has no field named "(?P<name>[^"]*)"')


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of one model, and the file that it was read from."""

    message: Any
    """The message ``ModelConfig``; its fields have the names of Triton's."""
    manifest: Manifest
    """The file, for problems and notes: fields by name, repeated ones by name and index."""

    def refuse(self, *path: str | int, said: str) -> Problem:
        """Return a mistake at a field."""
        return self.manifest.problem(path, said)


def parse_config(content: bytes, file: str, folder: str) -> ModelConfig:
    """Return the configuration in a text of the form of Protocol Buffers.

    A configuration without a name has that of its ``folder``, as Triton gives it. Raise SpecError
    for text that is not UTF-8, too large, too deep, or no ``ModelConfig``.
    """
    if len(content) > MAX_BYTES:
        _refuse(file, f"has more than the limit of {MAX_BYTES} bytes", None)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse(file, "is not UTF-8", None)
    marks = _marks(text, file)
    message = model_config()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        _refuse(file, _reason(error), _position(error))
    except RecursionError:
        _refuse(file, f"is nested deeper than the limit of {MAX_DEPTH} levels", None)
    message.name = message.name or folder
    data: Any = {"kind": "ModelConfig", "metadata": {"name": message.name}}
    return ModelConfig(message, Manifest(Document.located(data, file, marks), data))


def _reason(error: text_format.ParseError) -> str:
    """Return what the parser says, without the position, which stands before it."""
    said = re.sub(r"^\d+:\d+ : ", "", str(error))
    unknown = _UNKNOWN.search(said)
    if unknown is None:
        told = clean(said.replace(f"{PACKAGE}.", ""), 200)
        hole = _PLACEHOLDER.search(told)
        more = f"; fill in {hole[0]} and all other placeholders of the template" if hole else ""
        return f"is no configuration of Triton: {told}{more}"
    name, message = unknown["name"], unknown["message"]
    return f"Triton knows no field {shown(name)} here{hint(name, _fields(message))}"


def _fields(message: str) -> list[str]:
    """Return the names of a message's fields, sorted; none for a message that is not known."""
    text = MESSAGES.get(message.removeprefix(f"{PACKAGE}."), "")
    return sorted(one.partition(":")[0] for one in text.split())


def _position(error: text_format.ParseError) -> Position | None:
    line, column = error.GetLine(), error.GetColumn()
    return None if line is None else Position(line, column or 1)


def _refuse(file: str, said: str, position: Position | None) -> NoReturn:
    raise SpecError([Problem((), said, position, file)])


@dataclass
class _Level:
    """A message whose fields are being read."""

    descriptor: Any
    marks: Marks
    counts: dict[str, int] = field(default_factory=dict)
    name: str = ""
    """The field that is being read."""
    mark: Mark = (0, 0)
    is_list: bool = False
    """Whether the field's value is a list in brackets."""


def _marks(text: str, file: str) -> Marks:
    """Return where each field stands; text that is no message leaves its rest out."""
    root: Marks = {}
    levels = [_Level(model_config().DESCRIPTOR, root)]
    line, start = 0, 0
    for token in _TOKEN.finditer(text):
        kind, value = token.lastgroup, token[0]
        mark = (line, token.start() - start)
        if kind == "open":
            if len(levels) == MAX_DEPTH:
                said = f"is nested deeper than the limit of {MAX_DEPTH} levels"
                _refuse(file, said, Position(mark[0] + 1, mark[1] + 1))
            levels.append(_opened(levels[-1], mark))
        elif kind == "close" and len(levels) > 1:
            levels.pop()
            _end_value(levels[-1])
        elif kind != "space":
            _take(levels[-1], kind, value, mark)
        line += value.count("\n")
        start = token.start() + value.rindex("\n") + 1 if "\n" in value else start
    return root


def _take(level: _Level, kind: str | None, value: str, mark: Mark) -> None:
    """Take a token that opens and closes no message."""
    if value in "[]":
        level.is_list = value == "["
        if not level.is_list:
            level.name = ""
    elif kind == "word" and not level.name:
        level.name, level.mark = value, mark
    elif value == ":" and level.name:
        found = _field(level)
        if found is not None and found.type != FieldDescriptor.TYPE_MESSAGE:
            level.marks.setdefault(level.name, (level.mark, None))
    elif kind in ("word", "text"):
        _end_value(level)


def _end_value(level: _Level) -> None:
    if not level.is_list:
        level.name = ""


def _field(level: _Level) -> Any:
    return level.descriptor.fields_by_name.get(level.name) if level.descriptor else None


def _opened(level: _Level, mark: Mark) -> _Level:
    """Return the level of a message that begins; it stands where its field does, or in a list."""
    found = _field(level)
    if found is None:
        return _Level(None, {})
    place = mark if level.is_list else level.mark
    return _Level(found.message_type, _note(level, found, place))


def _note(level: _Level, found: Any, place: Mark) -> Marks:
    """Keep where a message stands; return the place for the marks of its fields."""
    inner: Marks = {}
    if not found.is_repeated:
        level.marks.setdefault(level.name, (place, inner))
        return level.marks[level.name][1] or inner
    index = level.counts.get(level.name, 0)
    level.counts[level.name] = index + 1
    items = level.marks.setdefault(level.name, (level.mark, {}))[1]
    if items is not None:
        items[index] = (place, inner)
    return inner
