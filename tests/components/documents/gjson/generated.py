"""Random documents and GJSON paths, odd and malformed ones among them, from a seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from anabranch.components.documents.paths import path_problem

KEYS = (
    "a", "b", "c", "first", "nets", "age", "fav.movie", "é", "日本", "😀", "", "0", "1", "#", "a b",
    "@this", "a*b", "a?", 'x"y', "a\\b", "\n", "a|b", "{", "[", "!x", "~", "true", "%", "a:b", "$",
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 1.5, -0.0, 1e100, 1e-5, 9007199254740993, 12345678901234567890,
    "", "a", "b", "Dale", "Tom", "1", "true", "false", "null", "a*b", "a?c", "x.y", "é", "日本",
    "😀", '"q"', "back\\slash", "\n", "true ", "A", "Z", "~", "44",
)  # fmt: skip
WANTED = (
    "~true", "~false", "~null", "~*", "~x", "~", "a", "Dale", "D*", "*", "?", "1.0", "01", "+1",
    "1e2", "-", "NaN", "inf", "tru", "f", ".5", "5.", "0x1", "0x1p4", "[1]", '{"a":1}', "", "'a'",
    '"D*"', '"*a*"', '"a\\*b"', '"a\\\\*b"', '"**"', '"\\"*"', '"\\u00e9"', '"*a*b*"',
)  # fmt: skip
OPERATORS = ("==", "==", "=", "!=", "<", "<=", ">", ">=", "%", "!%", "=>", "=<", "!", "===", "~")
BELOW = (
    "", "a", "b", "first", "a.b", 'nets.#(=="tw")', "#", "0", "a.#", "@this", "a|b", "b.#(a==1)",
    "nets.#(a>1)#", "é", "fav\\.movie", '"a"', "*", "a*", "a.@reverse.0", "!x",
)  # fmt: skip
MODIFIERS = (
    "flatten", "fromstr", "group", "join", "keys", "pretty", "reverse", "this", "ugly", "valid",
    "values", "dig", "other",
)  # fmt: skip
ARGUMENTS = ('{"deep":true}', '{"preserve":1}', "1", '"x"', "a", "[1]", '{"a":"}"}', "{", "a.b", "")
LITERALS = ("true", "null", "nan", "[1,2]", '{"a":1}', "x")
"""Numbers and texts are not among them: GJSON takes for one what stands behind it, too."""


def cases(seed: int) -> Iterator[tuple[str, str]]:
    """Yield pairs of a JSON text and a path, without an end."""
    random = Random(seed)
    while True:
        text = _text(random, _value(random, 4))
        for _ in range(4):
            path = _damaged(random, _path(random, 2))
            if path_problem(path) is None:
                yield text, path


def _value(random: Random, depth: int) -> Any:
    kind = random.random()
    if depth == 0 or kind < 0.3:
        return random.choice(VALUES)
    if kind < 0.65:
        return [_value(random, depth - 1) for _ in range(random.randrange(5))]
    return {_key(random): _value(random, depth - 1) for _ in range(random.randrange(5))}


def _text(random: Random, value: Any) -> str:
    text = json.dumps(
        value,
        ensure_ascii=random.random() < 0.6,
        indent=random.choice((None, None, None, 2)),
        separators=random.choice((None, None, (",", ":"))),
    )
    return random.choice(("", "", "", " ", "\n")) + text


def _key(random: Random) -> str:
    return random.choice(KEYS[:7] if random.random() < 0.7 else KEYS)


def _path(random: Random, depth: int) -> str:
    path = _part(random, depth)
    for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
        separator = random.choice((".", ".", ".", "|"))
        path += separator + _part(random, depth)
    return random.choice(("..", *[""] * 30)) + path


def _part(random: Random, depth: int) -> str:
    kind = random.random()
    if kind < 0.35:
        return _escaped(random, _key(random))
    if kind < 0.45:
        return random.choice(("0", "1", "2", "-1", "00", "1.", "999999999999999999999"))
    if kind < 0.55:
        return "#"
    if kind < 0.62:
        return _pattern(random)
    if kind < 0.83:
        return _query(random)
    if kind < 0.94 or depth == 0:
        return f"@{random.choice(MODIFIERS)}{random.choice(('', '', ':'))}"
    if kind < 0.96:
        return f"@{random.choice(MODIFIERS)}:{random.choice(ARGUMENTS)}"
    return _selector(random, depth) if kind < 0.99 else f"!{random.choice(LITERALS)}"


def _escaped(random: Random, key: str) -> str:
    if random.random() < 0.2:
        return key
    return "".join(f"\\{char}" if char in '.*?|#@!{}[]()"\\~%$:,' else char for char in key)


def _pattern(random: Random) -> str:
    letters = list(_key(random))
    for _ in range(random.randrange(1, 4)):
        letters.insert(random.randrange(len(letters) + 1), random.choice("*?"))
    return "".join(letters)


def _query(random: Random) -> str:
    inner = random.choice(BELOW)
    if random.random() < 0.85:
        space = random.choice(("", "", "", " "))
        known = json.dumps(random.choice(VALUES), ensure_ascii=random.random() < 0.5)
        inner += space + random.choice(OPERATORS) + space + random.choice((known, *WANTED[:3]))
        inner += random.choice(("", "", "", random.choice(WANTED)))
    start, end = random.choice(("()", "()", "()", "()", "()", "[]", "( "))
    return f"#{start}{inner}{end}{random.choice(('', '#', '#'))}"


def _selector(random: Random, depth: int) -> str:
    paths = [_path(random, depth - 1) for _ in range(random.randrange(4))]
    if random.random() < 0.5:
        return f"[{','.join(paths)}]"
    names = ("", "", '"k":', '"x\\"y":', '"é":', "k:")
    return f"{{{','.join(random.choice(names) + path for path in paths)}}}"


def _damaged(random: Random, path: str) -> str:
    if random.random() < 0.93 or "!" in path:
        return path
    at = random.randrange(len(path) + 1)
    return path[:at] + random.choice('.#@|(){}[]"*?=%!<>~\\0 ,:') + path[at + random.randrange(2) :]
