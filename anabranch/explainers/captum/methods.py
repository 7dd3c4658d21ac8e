"""The methods, each a thin layer over Captum's own class."""

from __future__ import annotations

from math import prod
from operator import gt
from pathlib import Path
from typing import Any, Literal, TypeAlias

from anabranch.components.arguments import AtLeastOne, SomeSizes
from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.errors import InvalidRequest
from anabranch.explainers.captum.attribution import (
    Attribution,
    Attributions,
    BaselineAttribution,
    Rows,
)
from anabranch.explainers.networks import Network
from anabranch.specs.models import Explainer

_MOST_PARTS = 256
_Sizes: TypeAlias = SomeSizes | AtLeastOne
"""One number, or one for each dimension of a row."""


@register("explainer", "integrated_gradients")
class IntegratedGradients(BaselineAttribution):
    """Gradients along the path from ``baseline`` to the row, in ``n_steps`` by ``method``.

    Attributions add up to the prediction minus the base value, but for the error of the steps:
    ``library.convergence_delta``. With a ``tolerance`` the path of a row is cut in two, four, …, at
    most 256 parts of as many steps until the error is within it; ``library.n_steps`` counts them.
    Sundararajan et al., "Axiomatic Attribution for Deep Networks" (2017).

    Args:
        n_steps: Steps of the path, at least 1.
        method: Rule of the integration.
        tolerance: Largest error of a row's sum; steps are added until it is reached. The steps are
            fixed if left out.
    """

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        n_steps: AtLeastOne = 50,
        method: Literal[
            "gausslegendre",
            "riemann_right",
            "riemann_left",
            "riemann_middle",
            "riemann_trapezoid",
        ] = "gausslegendre",
        tolerance: float | None = None,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._steps, self._rule, self._tolerance = n_steps, method, tolerance

    def attribute(self, rows: Rows) -> Attributions:
        """Return the attributions and what they miss."""
        found = self._integrated(rows, 1)
        deltas, parts = rows.missed(found), [1] * len(rows.predictions)
        while wrong := [row for row, delta in enumerate(deltas) if self._misses(delta)]:
            count = 2 * parts[wrong[0]]
            if count > _MOST_PARTS:
                break
            found[wrong] = self._integrated(rows.only(wrong), count)
            deltas = rows.missed(found)
            parts = [count if row in wrong else before for row, before in enumerate(parts)]
        library = [
            {"convergence_delta": delta, "n_steps": count * self._steps}
            for delta, count in zip(deltas, parts, strict=True)
        ]
        return Attributions(found, {"library": library})

    def _misses(self, delta: float) -> bool:
        return self._tolerance is not None and abs(delta) > self._tolerance

    def _integrated(self, rows: Rows, count: int) -> Any:
        """Return the sum over ``count`` parts of the way, each with all the steps."""
        baseline = rows.baseline
        way = rows.explained.detach() - baseline
        total = self.network.torch.zeros_like(way)
        for part in range(count):
            total += self._part(
                rows,
                start=baseline + way * (part / count) if part else baseline,
                end=baseline + way * ((part + 1) / count) if part + 1 < count else rows.explained,
            )
        return total

    def _part(self, rows: Rows, start: Any, end: Any) -> Any:
        many = len(rows.explained) * self._steps > self.most
        found = self.captum.IntegratedGradients(self.network.explained).attribute(
            end,
            baselines=start,
            target=rows.target,
            additional_forward_args=rows.others or None,
            n_steps=self._steps,
            method=self._rule,
            internal_batch_size=self.most if many else None,
        )
        return found.detach()


@register("explainer", "saliency")
class Saliency(Attribution):
    """The gradient of the score by the row; its absolute value, unless ``abs`` is false.

    Simonyan et al., "Deep Inside Convolutional Networks" (2013).

    Args:
        abs: Whether the gradient's absolute value is returned.
    """

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        abs: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._abs = abs

    def attribute(self, rows: Rows) -> Attributions:
        """Return the gradients."""
        return Attributions(
            self.captum.Saliency(self.network.explained).attribute(
                rows.explained,
                target=rows.target,
                abs=self._abs,
                additional_forward_args=rows.others or None,
            )
        )


@register("explainer", "deep_lift")
class DeepLift(BaselineAttribution):
    """The contribution of each element against ``baseline``, by the rescale rule.

    Attributions add up to the prediction minus the base value, but for the error of max pooling and
    softmax: ``library.convergence_delta``. It hooks the activations of the network: those of a
    ``torch.export`` program, or the modules of a component's own; TorchScript takes no hooks.
    Shrikumar et al., "Learning Important Features Through Propagating Activation Differences"
    (2017).
    """

    def look_inside(self) -> Network:
        """Return the network with its activations as modules."""
        return Network(self.model, self.function, _hooks().with_activations)

    def attribute(self, rows: Rows) -> Attributions:
        """Return the attributions."""
        found = self.captum.DeepLift(self.network.explained).attribute(
            rows.explained,
            baselines=rows.baseline,
            target=rows.target,
            additional_forward_args=rows.others or None,
        )
        library = [{"convergence_delta": delta} for delta in rows.missed(found)]
        return Attributions(found, {"library": library})


@register("explainer", "occlusion")
class Occlusion(BaselineAttribution):
    """The fall of the answer where a window of the row is covered with ``baseline``.

    ``sliding_window_shapes`` is the window's size in each dimension of a row, or one number for all
    of them; ``strides`` is how far it moves each time. Zeiler and Fergus, "Visualizing and
    Understanding Convolutional Networks" (2013).

    Args:
        sliding_window_shapes: Size of the window: one number, or one for each dimension of a row.
        strides: Distance between two windows, in the same form.
    """

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        sliding_window_shapes: _Sizes = 1,
        strides: _Sizes = 1,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._window, self._strides = sliding_window_shapes, strides

    def attribute(self, rows: Rows) -> Attributions:
        """Return the mean fall over the windows that cover each place."""
        shape = tuple(rows.explained.shape[1:])
        window = _sizes("sliding_window_shapes", self._window, shape)
        count = len(rows.explained)
        windows = prod(shape)  # at most one begins at each place
        found = self.captum.Occlusion(self.network.explained).attribute(
            rows.explained.detach(),
            sliding_window_shapes=window,
            strides=_sizes("strides", self._strides, window),
            baselines=rows.baseline,
            target=rows.target,
            additional_forward_args=rows.others or None,
            perturbations_per_eval=max(1, min(windows, self.most // count)),
        )
        return Attributions(found)


@register("explainer", "layer_gradcam")
class LayerGradCam(Attribution):
    """The places of the picture at which the convolution ``layer`` speaks for the answer.

    The layer's map is enlarged to the picture's height and width, by ``interpolate``; it is as the
    layer gave it in ``library.layer``. With ``relu_attributions`` only what speaks for the answer
    stays. It hooks the layer, which TorchScript does not take. Selvaraju et al., "Grad-CAM" (2017).

    Args:
        layer: Name of the convolution, as ``named_modules`` has it.
        relu_attributions: Whether only what supports the answer is kept.
        interpolate: How the layer's map is enlarged.
    """

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        layer: str,
        relu_attributions: bool = False,
        interpolate: Literal["nearest", "bilinear"] = "nearest",
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._name, self._relu, self._mode = layer, relu_attributions, interpolate
        self._layer: Any = None

    def look_inside(self) -> Network:
        """Return the network with a hook for the layer."""

        def rewrite(module: Any) -> Any:
            found, self._layer = _hooks().with_layer(module, self._name)
            return found

        return Network(self.model, self.function, rewrite)

    def attribute(self, rows: Rows) -> Attributions:
        """Return the layer's maps at the size of the pictures."""
        found = self.captum.LayerGradCam(self.network.explained, self._layer).attribute(
            rows.explained,
            target=rows.target,
            additional_forward_args=rows.others or None,
            relu_attributions=self._relu,
        )
        maps = found.detach()
        if maps.ndim < 3:
            raise ValueError(
                f"the layer {self._name!r} gives {list(maps.shape[1:])} for a row, which is no "
                "map; name a convolution, or a layer behind one"
            )
        return Attributions(
            self._enlarged(maps, rows), {"library": [{"layer": m} for m in maps.tolist()]}
        )

    def _enlarged(self, maps: Any, rows: Rows) -> Any:
        """Return the maps at the rows' height and width; as they are where rows have none."""
        sizes = tuple(rows.explained.shape[2:])
        if len(sizes) != maps.ndim - 2 or sizes == tuple(maps.shape[2:]):
            return maps
        mode = _LINEAR[len(sizes)] if self._mode == "bilinear" else self._mode
        return self.captum.LayerAttribution.interpolate(maps, sizes, mode)


_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""Torch's modes of interpolation for ``bilinear``, by the number of dimensions of a map."""


def _hooks() -> Any:
    return require("anabranch.explainers.networks.hooks", "torch")


def _sizes(name: str, given: list[int] | int, limits: tuple[int, ...]) -> tuple[int, ...]:
    """Return a size for each dimension, none above its limit; one number is cut to the limits."""
    if isinstance(given, int):
        return tuple(min(given, limit) for limit in limits)
    if len(given) != len(limits) or any(map(gt, given, limits)):
        raise InvalidRequest(
            f"args.{name} is {given}, but there must be one size for each dimension of a row, "
            f"at most {list(limits)}"
        )
    return tuple(given)
