"""Conditions in the Common Expression Language, compiled once and checked before they run.

A condition sees ``request`` (``id``, ``headers`` with names in lower case, ``parameters``) and, in
a router of a graph, ``inputs`` (name: nested lists or a scalar). Beside the functions of the
language there are two for elements that are JSON texts: ``json(text)`` is the value of a text, null
where it is no JSON; ``gjson_exists(text, path)`` tells whether it has something at a path of GJSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from typing import Any

from anabranch.components.documents.paths import exists, json_of, path_problem
from anabranch.specs.excerpts import hint, shown

_VARIABLES = ("request", "inputs")
_TRAFFIC_VARIABLES = ("request",)
_REQUEST = ("headers", "id", "parameters")
_OF_REQUEST = frozenset(_REQUEST)
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_STRING = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")
_FIELD = re.compile(r"(?<![\w.])(request|inputs)\s*\.\s*([A-Za-z_]\w*)(?!\w|\s*\()")
_HEADER = re.compile(r"""request\.headers\s*\[\s*['"]([^'"]*)['"]\s*\]""")
_CALL = re.compile(r"(?<![\w.])request(?!\s*\.\s*parameters\b)\b")
_FUNCTIONS: dict[str, Callable[..., Any]] = {"gjson_exists": exists, "json": json_of}
_PATH = re.compile(rf"gjson_exists\s*\([^'\"]*,\s*({_STRING.pattern})\s*\)")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


@cache
def _cel() -> Any:
    """Return the library of the language, whose import takes a tenth of a second that few need."""
    import cel

    return cel


def prepared(**variables: Any) -> Any:
    """Return variables in the form that conditions read, converted once for many of them.

    The conversion is what takes time: about two microseconds for each header. A ValueError for
    what the language cannot hold, such as text with a lone surrogate.
    """
    try:
        return _cel().Context(variables, _FUNCTIONS)
    except Exception as error:
        raise ValueError(f"the request cannot be read by rules: {_line(error)}") from None


class Condition:
    """One condition; ``holds`` evaluates it in about a microsecond."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._program = _compile(text)
        self.reads_inputs = "inputs" in self._program.variables()
        self._reads_json = "json" in self._program.functions()

    def holds(self, variables: Any) -> bool:
        """Tell whether the condition is true of ``prepared`` variables.

        It is not where it looks for what is not there: a missing header, parameter or element is
        no failure of the request, and a field of a JSON document that has another type is none. A
        ValueError for any other error, and for a result that is neither true nor false.
        """
        try:
            result = self._program.execute(variables)
        except LookupError:
            return False
        except Exception as error:
            if self._reads_json and isinstance(error, TypeError):
                return False
            raise ValueError(f"the rule {shown(self.text)} failed: {_line(error)}") from None
        if not isinstance(result, bool):
            raise ValueError(f"the rule {shown(self.text)} gave {shown(result)}, not true or false")
        return result


def mistakes(text: str, inputs: Iterable[str] | None) -> list[str]:
    """Return what is wrong with a condition over a router's ``inputs``, without running it.

    ``inputs`` is None for conditions of the traffic, which see nothing but the request.
    """
    try:
        program = _compile(text)
    except ValueError as error:
        return [str(error)]
    return [
        *_unknown_variables(
            text, program, _VARIABLES if inputs is not None else _TRAFFIC_VARIABLES
        ),
        *_unknown_functions(program),
        *_unknown_fields(text, inputs),
        *_upper_case_headers(text),
        *_wrong_paths(text),
    ]


def reads_call(text: str) -> bool:
    """Return whether a condition may read more of a request than inputs and parameters."""
    return _CALL.search(_STRING.sub("''", text)) is not None


def _compile(text: str) -> Any:
    """Return the program; a ValueError says where the text is wrong."""
    try:
        return _cel().compile(text)
    except ValueError as error:
        raise ValueError(_syntax_error(str(error))) from None
    except BaseException as error:
        # A bug in the parser surfaces as a panic, which is not an Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError("the expression cannot be parsed") from None


def _syntax_error(message: str) -> str:
    """Return the parser's first complaint and its column, without its drawing of the place."""
    found = re.search(r"<input>:\d+:(\d+): (.*)", message)
    if found is None:
        return f"the expression cannot be parsed: {_line(message)}"
    return f"the expression cannot be parsed, at character {found[1]}: {_line(found[2])}"


def _line(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def _unknown_variables(text: str, program: Any, known: tuple[str, ...]) -> Iterator[str]:
    bound = set(_BOUND.findall(text))
    for name in program.variables():
        if name in known or name in bound or not _IDENTIFIER.fullmatch(name):
            continue
        if name in _VARIABLES:
            yield (
                f"{shown(name)} is not available here: the revision is chosen before tensors are "
                "looked at; use request.headers or request.parameters"
            )
        else:
            inside = name in _OF_REQUEST and "request" in known
            write = f": write request.{name}" if inside else hint(name, known)
            yield f"unknown name {shown(name)}{write}"


def _unknown_functions(program: Any) -> Iterator[str]:
    for name in program.functions():
        if name in _FUNCTIONS or not _IDENTIFIER.fullmatch(name) or _is_function(name):
            continue
        yield f"unknown function {shown(name)}"


@lru_cache(maxsize=1024)
def _is_function(name: str) -> bool:
    """Tell whether CEL has a function or method of that name: it says so only when it runs."""
    return any(_is_defined(call) for call in (f"{name}()", f"''.{name}()", f"''.{name}('')"))


def _is_defined(call: str) -> bool:
    try:
        _cel().compile(call).execute({})
    except RuntimeError as error:
        return "Undefined" not in str(error)
    except Exception:
        return True
    return True


def _unknown_fields(text: str, inputs: Iterable[str] | None) -> Iterator[str]:
    known: dict[str, tuple[str, ...]] = {"request": _REQUEST}
    if inputs is not None:
        known["inputs"] = tuple(inputs)
    for variable, field in _FIELD.findall(_STRING.sub("''", text)):
        if variable in known and field not in known[variable]:
            there = hint(field, known[variable]) or " (the router has no inputs)"
            yield f"{variable} has no {shown(field)}{there}"


def _upper_case_headers(text: str) -> Iterator[str]:
    for name in _HEADER.findall(text):
        if name != name.lower():
            lower, found = shown(name.lower()), shown(name)
            yield f"names of headers are in lower case: write {lower}, not {found}"


def _wrong_paths(text: str) -> Iterator[str]:
    """Yield the mistakes in paths of GJSON that the condition spells out."""
    for literal in _PATH.findall(text):
        try:
            path = _cel().compile(literal).execute({})
        except Exception:
            continue  # The parser has said so already.
        wrong = path_problem(path)
        if wrong is not None:
            yield f"{shown(path)}: {wrong}"
