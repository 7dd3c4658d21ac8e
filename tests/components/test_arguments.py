"""A constructor's arguments are its own, and where it hands `**common` on, its base's too."""

from __future__ import annotations

from typing import Any

from anabranch.components.arguments import constructor_parameters, constructor_problems


class Base:
    def __init__(self, node: object, *, size: int = 1, label: str | None = None) -> None:
        self.given = (node, size, label)


class Middle(Base):
    """Without a constructor."""


class Open(Middle):
    def __init__(self, node: object, *, rate: float, size: float = 2.0, **common: Any) -> None:
        super().__init__(node, size=int(size), **common)


class Closed(Open):
    def __init__(self, node: object, *, label: str = "x") -> None:
        super().__init__(node, rate=1.0, label=label)


def test_common_arguments_are_those_of_the_base() -> None:
    assert set(constructor_parameters(Open)) == {"node", "rate", "size", "label"}
    assert constructor_parameters(Open)["label"].annotation == str | None
    assert constructor_parameters(Open)["size"].default == 2.0


def test_a_constructor_that_hands_nothing_on_takes_only_its_own() -> None:
    assert set(constructor_parameters(Closed)) == {"node", "label"}
    assert set(constructor_parameters(Middle)) == {"node", "size", "label"}
    assert constructor_parameters(object) == {}


def test_problems_name_the_arguments_of_the_base() -> None:
    assert constructor_problems(Open, {"rate": 1.0, "label": "x"}, "open") == []
    assert constructor_problems(Open, {"lable": "x", "size": "big"}, "open") == [
        (
            ("args", "lable"),
            "unknown argument of open (did you mean 'label'? available: label, rate, size)",
        ),
        (("args",), "open needs the argument 'rate'"),
        (("args", "size"), "'big' is not a number"),
    ]
