"""Writes a graph as canonical YAML: fields in the order of the language, short values on one line.

Whatever ``to_yaml`` writes, the loader reads back as an equal graph.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from yaml.resolver import Resolver

from anabranch.specs.models import InferenceGraph
from anabranch.specs.scalars import resolve

_WIDTH = 88
"""Longest line that a collection is kept on, in columns."""
_LONGEST_KEY = 500
"""Longer keys are written with a ``?``, since parsers look no further for their colon."""
_NODE_FIELDS = (
    "type", "component", "contract", "runtime", "strategy", "explains", "model", "sha256",
    "watch", "multiplex", "data",
    "method", "colocate", "sample", "seed",
    "args", "env", "secrets", "inputs", "quorum", "triggers", "routes", "sticky", "rules",
    "otherwise", "broadcast", "skip", "outputs", "optional_outputs", "resources", "scaling",
    "placement", "batching", "timeout", "idempotent", "retries", "on_error",
)  # fmt: skip
_SECTIONS = frozenset({"metadata", "spec", "inputs", "nodes", "outputs", "rollout"})
"""Maps that take a line for each entry, however short they are; so does each node."""
_PLAIN = re.compile(r"[A-Za-z_0-9./](?:[A-Za-z_0-9./+@%=~-]|[: ](?=[A-Za-z_0-9./]))*")
_RAW = re.compile(
    "[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_RESOLVER = Resolver()


def to_yaml(graph: InferenceGraph) -> str:
    """``graph`` as YAML; what is at its default is left out."""
    data = graph.to_dict()
    data["spec"]["nodes"] = {name: _ordered(node) for name, node in data["spec"]["nodes"].items()}
    return "\n".join(_map(_tidy(data), ())) + "\n"


def _ordered(node: Mapping[str, Any]) -> dict[str, Any]:
    return {name: node[name] for name in sorted(node, key=_NODE_FIELDS.index)}


def _tidy(value: Any) -> Any:
    """Whole numbers without a point, but in ``args``, where it may matter."""
    match value:
        case dict():
            return {key: v if key == "args" else _tidy(v) for key, v in value.items()}
        case list():
            return [_tidy(item) for item in value]
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
    return value


def _map(items: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The lines of a map in block style."""
    for name, value in items.items():
        key = _text(name)
        if len(key) > _LONGEST_KEY:
            yield f"? {key}"
            key = ""
        yield from _entry(f"{key}:", value, (*path, name))


def _entry(key: str, value: Any, path: tuple[str, ...]) -> Iterator[str]:
    short = f"{key} {_flow(value)}"
    if not isinstance(value, dict | list) or not value or _fits(short, path):
        yield short
        return
    lines = _map(value, path) if isinstance(value, dict) else _list(value, path)
    yield f"{key} {next(lines)}" if key == "-" else key
    yield from (f"  {line}" for line in lines)


def _fits(line: str, path: tuple[str, ...]) -> bool:
    """Return whether a collection may stay on one line."""
    return not _is_section(path) and 2 * (len(path) - 1) + len(line) <= _WIDTH


def _is_section(path: tuple[str, ...]) -> bool:
    return (len(path) <= 2 and path[-1] in _SECTIONS) or (len(path) == 3 and path[1] == "nodes")


def _list(items: list[Any], path: tuple[str, ...]) -> Iterator[str]:
    """The lines of a list in block style."""
    for item in items:
        yield from _entry("-", item, (*path, "-"))


def _flow(value: Any) -> str:
    """``value`` on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{_text(k)}: {_flow(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(_flow(item) for item in value) + "]"
        case str():
            return _text(value)
        case float():
            return repr(value)
    return json.dumps(value)


def _text(text: str) -> str:
    """Text as it is where no reader of YAML could take it for anything else, else in quotes."""
    if _PLAIN.fullmatch(text) and _is_text(text) and _is_text_in_yaml_1_1(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _RAW.sub(lambda match: f"\\u{ord(match.group()):04x}", quoted)


def _is_text(text: str) -> bool:
    try:
        return resolve(text) == text
    except ValueError:  # an integer of too many digits
        return False


def _is_text_in_yaml_1_1(text: str) -> bool:
    tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return bool(tag == "tag:yaml.org,2002:str")
