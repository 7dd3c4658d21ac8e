"""Hostile specs, and what becomes of each of them under hard limits.

Run as a program, it reads every bomb in turn and prints one line of JSON for each. It may take
100 MiB of memory more than it starts with, and for each bomb 1 s of processor time.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

from anabranch.errors import SpecError
from anabranch.specs.checks import check
from anabranch.specs.loader import parse

SECONDS = 1
BYTES = 100 * 2**20
LONGEST_MESSAGE = 4096
_HEAD = "apiVersion: anabranch/v1\nkind: InferenceGraph\nmetadata: {name: g}\n"
_DEEP = 100_000


def _lines(count: int, line: Callable[[int], str]) -> str:
    return "\n".join(line(number) for number in range(count))


def _laughs() -> str:
    """Each line names the one before it ten times."""
    levels = _lines(30, lambda n: f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]")
    return "a0: &a0 [lol]\n" + levels


BOMBS: dict[str, Callable[[], bytes | str]] = {
    "flow lists": lambda: "[" * _DEEP,
    "closed flow lists": lambda: "[" * _DEEP + "]" * _DEEP,
    "flow maps": lambda: "{" * _DEEP,
    "flow maps with keys": lambda: "{a: " * _DEEP,
    "flow lists on lines": lambda: "[\n" * _DEEP,
    "mixed flow": lambda: "[{a: " * _DEEP,
    "compact block lists": lambda: "- " * _DEEP,
    "explicit keys": lambda: "? " * _DEEP,
    "indented block maps": lambda: _lines(1_400, lambda n: " " * n + "a:"),
    "more indentation than fits": lambda: _lines(4_000, lambda n: " " * n + "a:"),
    "billion laughs": _laughs,
    "quadratic laughs": lambda: "a: &a '" + "x" * 500_000 + "'\nb: [" + "*a, " * 100 + "]",
    "endless aliases": lambda: "a: &a x\nb: [" + "*a, " * 200_000 + "]",
    "endless anchors": lambda: "[" + "&a x, " * 150_000 + "]",
    "alias to itself": lambda: "&a [*a]",
    "tag directives": lambda: _lines(60_000, lambda n: f"%TAG !a{n}! b"),
    "late tag directives": lambda: "a: b\n...\n" + _lines(60_000, lambda n: f"%TAG !a{n}! b"),
    "endless documents": lambda: "--- \n" * 200_000,
    "python objects": lambda: "a: !!python/object/apply:os.system ['true']",
    "endless tags": lambda: "[" + "!x a, " * 150_000 + "]",
    "huge integer": lambda: "a: " + "9" * 1_000_000,
    "huge hexadecimal": lambda: "a: 0x" + "f" * 1_000_000,
    "huge exponent": lambda: _HEAD + "spec: 1e" + "9" * 1_000_000,
    "huge key": lambda: "k" * 1_000_000 + ": 1",
    "huge explicit key": lambda: "? " + "k" * 1_000_000 + "\n: 1",
    "huge quoted key": lambda: "? '" + "\U0001f600" * 250_000 + "'\n: 1",
    "huge text": lambda: _HEAD + "spec: '" + "x" * 1_000_000 + "'",
    "huge name": lambda: f"metadata: {{name: '{'x' * 1_000_000}'}}",
    "huge node type": lambda: f"spec: {{nodes: {{a: {{type: {'x' * 1_000_000}}}}}}}",
    "huge node name": lambda: f"spec:\n  nodes:\n    ? {'x' * 1_000_000}\n    : {{}}",
    "unfinished text": lambda: "'" + "x" * 1_000_000,
    "blank lines": lambda: "\n" * 1_000_000 + "[",
    "comments": lambda: "#\n" * 500_000 + "[",
    "spaces": lambda: " " * 1_000_000 + "[",
    "empty values": lambda: "[" + "a," * 500_000 + "]",
    "unknown fields": lambda: _lines(29_000, lambda n: f"a{n}: 1"),
    "repeated keys": lambda: "a: 1\n" * 29_000,
    "number keys": lambda: _lines(29_000, lambda n: f"{n}: 1"),
    "nodes of unknown types": lambda: (
        "spec:\n  nodes:\n" + _lines(16_000, lambda n: f"    a{n}: {{typ: transformr, b: 1}}")
    ),
    "bad nodes": lambda: "spec:\n  nodes:\n" + _lines(29_000, lambda n: f"    a{n}: 1"),
    "bad routes": lambda: (
        "spec: {nodes: {a: {type: router, strategy: weighted, routes: [" + "1," * 55_000 + "]}}}"
    ),
    "repeated routes": lambda: (
        "spec: {nodes: {a: {type: router, component: c, routes: [" + "b," * 55_000 + "]}}}"
    ),
    "bad keys and values": lambda: (
        "spec: {nodes: {a: {type: transformer, inputs: {"
        + ",".join(f"'{n}': 1" for n in range(28_000))
        + "}}}}"
    ),
    "bad shapes": lambda: "spec: {inputs: {a: {datatype: FP32, shape: [" + "x," * 55_000 + "]}}}",
    "deep path": lambda: (
        "".join(f"{'  ' * n}{'k' * 60}{n}:\n" for n in range(31)) + "  " * 31 + "!x 1"
    ),
    "too many bytes": lambda: "#" * 5_000_000,
    "NUL": lambda: b"a: \0",
    "NULs": lambda: b"\0" * 1_000_000,
    "escaped NUL": lambda: 'a: "\\0"',
    "UTF-16": lambda: (_HEAD * 1_000).encode("utf-16"),
    "UTF-32": lambda: (_HEAD * 1_000).encode("utf-32"),
    "latin-1": lambda: "name: caf\xe9".encode("latin-1"),
    "stray continuation bytes": lambda: b"\x80" * 1_000_000,
    "overlong UTF-8": lambda: b"a: \xc0\x80",
    "surrogates in UTF-8": lambda: b"a: \xed\xa0\x80",
    "marks of byte order": lambda: "\ufeff" * 300_000,
    "control characters": lambda: "a: " + "\x1b[2J" * 100_000,
    "text directions": lambda: "\u202e" * 10_000 + ": 1",
}


def outcome(data: bytes | str) -> str:
    """``refused`` where the only thing that happens is a SpecError of bounded, printable text."""
    try:
        problems = check(parse(data)).problems
        if not problems:
            return "accepted"
        raise SpecError(problems)
    except SpecError as error:
        text = str(error)
    if len(text.encode()) > LONGEST_MESSAGE:
        return f"{len(text.encode())} bytes of message"
    if not all(line.isprintable() for line in text.split("\n")):
        return f"unprintable: {text[:200]!r}"
    return "refused" if text.count(":") >= 2 or "larger than" in text else f"vague: {text[:200]}"


def _measured(make: Callable[[], bytes | str]) -> str:
    data = make()
    start = time.process_time()
    try:
        said = outcome(data)
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"[:200]
    spent = time.process_time() - start
    return said if spent < SECONDS else f"{said} after {spent:.1f} s"


if __name__ == "__main__":
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name, make in BOMBS.items():
        print(json.dumps([name, _measured(make)]), flush=True)
