"""Transformers: components before and after the model, whose code is that of an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from anabranch.importers.containers import NO_COUNTERPART, environment, resources
from anabranch.importers.fields import Fields
from anabranch.importers.graph_names import class_name, printable
from anabranch.importers.kserve.services.extensions import component_fields
from anabranch.importers.kserve.services.predictors import (
    CONTAINERS,
    KSERVE_CONTAINER,
    containers_of,
)

FILE = "components.py"


@dataclass(frozen=True)
class TransformerNodes:
    """The nodes around a model, and the file with their classes."""

    before: dict[str, Any]
    after: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)


def transformer_nodes(transformer: Fields, service: str) -> TransformerNodes | None:
    """Return the nodes of a transformer; None, with a mistake, where it has no container.

    In KServe its image has both methods, and calls the predictor in between
    (python/kserve/kserve/model.py).
    """
    containers = containers_of(transformer)
    if not containers:
        transformer.mistake("needs containers, the first of which is the transformer", CONTAINERS)
        return None
    main = next(
        (one for one in containers if one.data.get("name") == KSERVE_CONTAINER), containers[0]
    )
    for one in containers:
        if one is not main:
            one.left_out("a container beside the transformer; make it a node, if it is a step")
    image = main.text("image")
    name = class_name(service, ())
    said = f"paste the code of the image {image or 'of the transformer'} into {FILE}"
    main.to_do(said, *(["image"] if image else []))
    if main.text("name"):
        main.reworded("a node has the name of its step", "name")
    shared = {**environment(main), **resources(main)}
    main.leave_out(NO_COUNTERPART)
    main.finish(NO_COUNTERPART)
    own = component_fields(transformer)
    before = _node(f"{name}Preprocess") | shared | own
    transformer.asked |= {"logger", "serviceAccountName"}
    transformer.finish()
    after = _node(f"{name}Postprocess")
    after |= {key: value for key, value in shared.items() if key != "resources"}
    return TransformerNodes(before, after, {FILE: _source(name, image)})


def _node(cls: str) -> dict[str, Any]:
    return {"type": "transformer", "component": f"{FILE}:{cls}"}


def _source(name: str, image: str) -> str:
    said = f"the code of the image {printable(image)} is missing"
    missing = f'raise NotImplementedError("{said}")'
    return f'''"""Components around the model: the transformer of an InferenceService of KServe."""


class {name}Preprocess:
    """`preprocess` of the image {printable(image)}: paste it in."""

    def transform(self, **inputs):
        """Return what the model takes, for the inputs of a request: arrays by name."""
        {missing}


class {name}Postprocess:
    """`postprocess` of the image {printable(image)}: paste it in."""

    def transform(self, **outputs):
        """Return the answer, for the outputs of the model: arrays by name."""
        {missing}
'''
