"""Sums that only grow, so that what came in a window is the difference of two of them.

Sums of any kind may be added in any order. The difference to sums that were larger, those of a
process that has since started anew, is empty and never negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeAlias

Table: TypeAlias = dict[Any, Any]


class Sums:
    """Base of dataclasses whose fields are counts, other sums, or tables of either.

    A count is an integer; floats are sums of numbers that may be below zero. Tables hold no zeros.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[Mapping[str, Any]]

    def plus(self, other: Self) -> Self:
        """Return the sum of both."""
        names = self.__dataclass_fields__
        return type(self)(*[_plus(getattr(self, name), getattr(other, name)) for name in names])

    def minus(self, earlier: Self) -> Self:
        """Return the growth since ``earlier``."""
        names = self.__dataclass_fields__
        return type(self)(*[_minus(getattr(self, name), getattr(earlier, name)) for name in names])


def _plus(one: Any, other: Any) -> Any:
    if isinstance(one, int | float):
        return one + other
    return one.plus(other) if isinstance(one, Sums) else _plus_tables(one, other)


def _minus(now: Any, then: Any) -> Any:
    if isinstance(now, int):
        return now - then if now > then else 0
    if isinstance(now, float):
        return now - then
    return now.minus(then) if isinstance(now, Sums) else _minus_tables(now, then)


def _plus_tables(one: Table, other: Table) -> Table:
    if not one and not other:
        return {}
    zero = _zero(one or other)
    if zero == 0:
        result = {key: count for key, count in one.items() if count}
        for key, count in other.items():
            if count:
                result[key] = result.get(key, 0) + count
        return result
    return {key: _plus(one.get(key, zero), other.get(key, zero)) for key in one | other}


def _minus_tables(now: Table, then: Table) -> Table:
    if not now:
        return {}
    zero = _zero(now)
    if zero == 0:
        return {k: count - then.get(k, 0) for k, count in now.items() if count > then.get(k, 0)}
    growth = {key: _minus(value, then.get(key, zero)) for key, value in now.items()}
    return {key: value for key, value in growth.items() if value != zero}


def _zero(table: Table) -> Any:
    """Return the zero of a table's values, which are all of one kind."""
    return type(next(iter(table.values())))()
