"""Components to fill in: a class for each image, with the methods that Seldon calls."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field

from anabranch.importers.graph_names import class_name, printable
from anabranch.importers.seldon_v1.units.tree import (
    AGGREGATE,
    PREDICT,
    ROUTE,
    TRANSFORM_INPUT,
    TRANSFORM_OUTPUT,
)

FILE = "components.py"
_SIGNATURES = {
    PREDICT: "predict(self, X, names, meta=None)",
    TRANSFORM_INPUT: "transform_input(self, X, names, meta=None)",
    TRANSFORM_OUTPUT: "transform_output(self, X, names, meta=None)",
    ROUTE: "route(self, X, names)",
    AGGREGATE: "aggregate(self, features_list, feature_names_list)",
}
"""Methods of ``python/seldon_core/user_model.py``."""


@dataclass
class _Image:
    name: str
    image: str
    parameters: dict[str, None] = field(default_factory=dict)
    methods: dict[str, None] = field(default_factory=dict)


@dataclass
class Images:
    """The classes of ``components.py``: one for each image, whichever units run it."""

    found: dict[str, _Image] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """Source of whole classes, by name."""

    def component(self, image: str, method: str, parameters: Mapping[str, object]) -> str:
        """Add a method to the class of an image; return the node's ``component``."""
        one = self.found.get(image)
        if one is None:
            one = self.found[image] = _Image(class_name(_short(image), self._names()), image)
        one.methods[method] = None
        one.parameters |= dict.fromkeys(parameters)
        return f"{FILE}:{one.name}"

    def whole(self, name: str, source: str) -> str:
        """Add a class whose source is known; return the node's ``component``."""
        self.texts[name] = source
        return f"{FILE}:{name}"

    def files(self, title: str) -> dict[str, str]:
        """Return the files of the graph that hold the classes; none if there are no classes."""
        if not self.found and not self.texts:
            return {}
        sources = [*self.texts.values(), *map(_source, self.found.values())]
        said = f"Components of {printable(title)}, as Seldon Core's Python wrapper has them."
        opening = f'"""{said}"""\n'
        return {FILE: opening + "".join(f"\n\n{source}" for source in sources)}

    def _names(self) -> list[str]:
        return [*self.texts, *(one.name for one in self.found.values())]


def _short(image: str) -> str:
    """Return the name in an image: ``mock_classifier`` of ``seldonio/mock_classifier:1.0``."""
    return image.rpartition("/")[2].partition("@")[0].partition(":")[0] or "component"


def _source(one: _Image) -> str:
    lines = [
        f"class {one.name}:",
        f'    """The code of the image {printable(one.image)}: paste it in."""',
    ]
    lines += _constructor(list(one.parameters))
    for method in one.methods:
        said = f"the code of the image {printable(one.image)} is missing"
        lines += [
            "",
            f"    def {_SIGNATURES[method]}:",
            f'        raise NotImplementedError("{said}")',
        ]
    return "\n".join(lines) + "\n"


def _constructor(parameters: list[str]) -> list[str]:
    if not parameters:
        return []
    named = all(name.isidentifier() and not keyword.iskeyword(name) for name in parameters)
    if not named or {"self", "context"} & set(parameters):
        return ["", "    def __init__(self, **parameters):", "        self.parameters = parameters"]
    taken = ", ".join(f"{name}=None" for name in parameters)
    kept = [f"        self.{name} = {name}" for name in parameters]
    return ["", f"    def __init__(self, {taken}):", *kept]
