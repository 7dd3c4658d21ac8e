"""The node for each method of a unit: of a built-in, a prepackaged server, or a container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anabranch.importers.seldon_v1.pods.containers import Container
from anabranch.importers.seldon_v1.servers.bandits import bandit, strategy_of
from anabranch.importers.seldon_v1.servers.endpoints import RUNTIMES, SELDON, address, remote_node
from anabranch.importers.seldon_v1.servers.images import Images
from anabranch.importers.seldon_v1.servers.prepackaged import SERVERS, Setting
from anabranch.importers.seldon_v1.units.flattening import Call, NodeFields
from anabranch.importers.seldon_v1.units.tree import (
    AGGREGATE,
    BUILTINS,
    PREDICT,
    ROUTE,
    TRANSFORM_INPUT,
    TRANSFORM_OUTPUT,
    PredictiveUnit,
)
from anabranch.specs.excerpts import hint, listing, shown

_TYPES = {
    PREDICT: "predictor",
    TRANSFORM_INPUT: "transformer",
    TRANSFORM_OUTPUT: "transformer",
    ROUTE: "router",
    AGGREGATE: "combiner",
}
_PROXY = "seldonio/tfserving-proxy"
"""Beginning of the images that hand requests on to TensorFlow Serving."""
_SIMPLE_MODEL = '''class SimpleModel:
    """The built-in model SIMPLE_MODEL: the same three values, but texts and bytes come back."""

    def predict(self, X, names, meta=None):
        return X if isinstance(X, (str, bytes)) else [[0.1, 0.9, 0.5]]

    def class_names(self):
        return ["class0", "class1", "class2"]

    def metrics(self):
        return [
            {"type": "COUNTER", "key": "mymetric_counter", "value": 1},
            {"type": "GAUGE", "key": "mymetric_gauge", "value": 100},
            {"type": "TIMER", "key": "mymetric_timer", "value": 22.1},
        ]
'''


@dataclass
class Calls:
    """Makes the nodes of a predictor's units."""

    protocol: str
    containers: Mapping[str, Container]
    is_alone: bool
    """Whether the predictor has a single unit."""
    images: Images = field(default_factory=Images)
    settings: Mapping[str, NodeFields] = field(default_factory=dict)
    """Fields of the nodes of each unit's container: ``env``, ``resources``, ``scaling``."""
    _servers: dict[str, NodeFields] = field(default_factory=dict)

    def __call__(self, unit: PredictiveUnit, method: str) -> Call:
        """Return the node for a method of a unit."""
        call = self._call(unit, method)
        if call.fields.get("runtime") in RUNTIMES.values():
            return call
        return Call({**call.fields, **self.settings.get(unit.name, {})}, call.weights, call.decides)

    def is_elsewhere(self, unit: PredictiveUnit) -> bool:
        """Tell whether the server of a unit runs outside of the graph."""
        if unit.implementation in SERVERS:
            return self._server(unit).get("runtime") in RUNTIMES.values()
        if unit.implementation in BUILTINS:
            return False
        container = self.containers.get(unit.name)
        if container is not None and container.image.startswith(_PROXY):
            return True
        return bool(unit.before or unit.after) and self._is_remote(unit, unit.before)

    def _call(self, unit: PredictiveUnit, method: str) -> Call:
        if unit.implementation in SERVERS:
            return Call(self._server(unit))
        if unit.implementation in BUILTINS:
            return self._builtin(unit)
        container = self.containers.get(unit.name)
        image = container.image if container is not None else ""
        strategy = strategy_of(image)
        if container is not None and strategy is not None and method == ROUTE:
            return bandit(unit, strategy, container)
        if image.startswith(_PROXY):
            return Call(self._proxied(unit))
        if self._is_remote(unit, method):
            return Call(self._remote(unit, method, image))
        return self._component(unit, method, container)

    def _proxied(self, unit: PredictiveUnit) -> NodeFields:
        """Return the node for TensorFlow Serving behind ``servers/tfserving_proxy``."""
        return SERVERS["TENSORFLOW_SERVER"](unit, self._setting())

    def _setting(self) -> Setting:
        return Setting(self.protocol, self.is_alone)

    def _server(self, unit: PredictiveUnit) -> NodeFields:
        if unit.name not in self._servers:
            self._servers[unit.name] = SERVERS[unit.implementation](unit, self._setting())
        return self._servers[unit.name]

    def _builtin(self, unit: PredictiveUnit) -> Call:
        match unit.implementation:
            case "SIMPLE_MODEL":
                _note_builtin(unit, "a component with its three values")
                component = self.images.whole("SimpleModel", _SIMPLE_MODEL)
                return Call({"type": "predictor", "component": component, "contract": SELDON})
            case "AVERAGE_COMBINER":
                _note_builtin(unit, "`strategy: mean`")
                return Call({"type": "combiner", "strategy": "mean"})
            case "SIMPLE_ROUTER":
                _note_builtin(unit, "`strategy: weighted` with all weight on the first route")
                weights = (1.0, *[0.0] * (len(unit.children) - 1))
                return Call({"type": "router", "strategy": "weighted"}, weights)
        return _abtest(unit)

    def _is_remote(self, unit: PredictiveUnit, method: str) -> bool:
        """Tell whether a container's method is called over the network.

        Over v2 and TensorFlow's protocol every container is a server that our runtimes can call.
        """
        if method not in (PREDICT, TRANSFORM_INPUT, TRANSFORM_OUTPUT):
            return False
        return self.protocol not in ("", "seldon") or bool(address(unit))

    def _remote(self, unit: PredictiveUnit, method: str, image: str) -> NodeFields:
        runtime = RUNTIMES[self.protocol or "seldon"]
        node = remote_node(unit, runtime, f"the image `{image}`")
        unit.parameters.take_all("the server that goes on has it")
        if runtime == SELDON:
            node["method"] = method
        return node

    def _component(self, unit: PredictiveUnit, method: str, container: Container | None) -> Call:
        if container is None:
            return Call({"type": _TYPES[method]})
        args = unit.parameters.take_all("`args.{name}`") | _own_model(unit)
        component = self.images.component(container.image or container.name, method, args)
        said = f"paste the code of the image `{container.image}` into `{component}`"
        container.fields.to_do(said, "image")
        node: NodeFields = {"type": _TYPES[method], "component": component, "contract": SELDON}
        if method == TRANSFORM_OUTPUT:
            node["method"] = TRANSFORM_OUTPUT
        return Call(node | ({"args": args} if args else {}), decides=method == ROUTE)


def _own_model(unit: PredictiveUnit) -> dict[str, str]:
    """Return the argument by which Seldon tells a server of the user's own where its model is.

    ``seldondeployment_prepackaged_servers.go`` fetches ``modelUri`` and adds the parameter.
    """
    if not unit.implementation or not unit.fields.has("modelUri"):
        return {}
    said = "put the model beside the graph, and write its path into `args.model_uri`"
    unit.fields.to_do(said, "modelUri")
    return {"model_uri": unit.fields.text("modelUri")}


def check_implementation(unit: PredictiveUnit, containers: Mapping[str, Container]) -> None:
    """Keep the mistakes of ``checkPredictiveUnits`` in ``seldondeployment_webhook.go``."""
    fields, container = unit.fields, containers.get(unit.name)
    image = container.image if container is not None else ""
    if unit.implementation in SERVERS:
        if not fields.has("modelUri") and unit.implementation != "HUGGINGFACE_SERVER":
            fields.mistake(f"{unit.implementation} needs `modelUri`, the folder of the model")
    elif unit.implementation in BUILTINS:
        return
    elif unit.implementation and not image:
        said = f"{shown(unit.implementation)} is no server that Seldon brings"
        known = listing([*SERVERS, *BUILTINS])
        fields.mistake(
            f"{said} (available: {known}); one of your own needs a container with an image",
            "implementation",
        )
    elif container is None and unit.name:
        known = hint(unit.name, containers)
        said = "componentSpecs need one for a node without an `implementation`"
        fields.mistake(f"no container is called {shown(unit.name)}{known}; {said}", "name")
    elif container is not None and not image:
        container.fields.mistake("is required", "image")


def _note_builtin(unit: PredictiveUnit, text: str) -> None:
    unit.fields.reworded(text, "implementation")
    for name in unit.parameters.values:
        unit.parameters.left_out(name, f"{unit.implementation} reads no parameters")


def _abtest(unit: PredictiveUnit) -> Call:
    """``RandomABTestUnit.java``: child 0 for a random number up to ``ratioA``, else child 1."""
    ratio = unit.parameters.values.get("ratioA")
    unit.parameters.refuse_others(("ratioA",), "RANDOM_ABTEST")
    weights = (1 / max(len(unit.children), 1),) * len(unit.children)
    if "ratioA" not in unit.parameters.fields:
        said = "RANDOM_ABTEST needs the parameter `ratioA`, the share of the first child"
        unit.fields.mistake(said, "parameters")
    elif isinstance(ratio, bool | str) or (ratio is not None and not 0 <= ratio <= 1):
        unit.parameters.mistake("ratioA", f"{shown(ratio)} is no share from 0 to 1, as a FLOAT")
    elif ratio is not None and len(unit.children) == 2:
        unit.parameters.same("ratioA", "weights of `routes`")
        weights = (float(ratio), round(1 - float(ratio), 9))
    unit.fields.reworded("`strategy: weighted`", "implementation")
    return Call({"type": "router", "strategy": "weighted"}, weights)
