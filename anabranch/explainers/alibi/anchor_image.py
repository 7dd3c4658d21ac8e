"""Anchors of images: superpixels that, while they stay, keep the predicted class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from anabranch.components.contract import CannotLoad
from anabranch.components.registry import register
from anabranch.errors import InvalidRequest, Mistake
from anabranch.explainers import samples
from anabranch.explainers.alibi.anchors import Anchors
from anabranch.explainers.alibi.library import already_fitted, library
from anabranch.explainers.model import Array
from anabranch.explainers.tabular import no_texts
from anabranch.specs.models import Explainer

_SEGMENTS: dict[str, dict[str, Any]] = {
    # Alibi counts superpixels from 0, scikit-image's slic from 1 unless told otherwise.
    "slic": {"n_segments": 10, "compactness": 10, "sigma": 0.5, "start_label": 0},
    "felzenszwalb": {"scale": 1, "sigma": 0.8, "min_size": 20},
    "quickshift": {"kernel_size": 5, "max_dist": 10, "ratio": 1, "sigma": 0},
}


@register("explainer", "anchor_image")
class AnchorImage(Anchors):
    """Superpixels that keep the predicted class while they stay.

    A row is an image [height, width] or with ``channels`` first or last, or a flat one of the
    ``image_shape`` that is told. ``data``, a sample of images, is the background of omitted
    superpixels; without it, they get their mean colour. ``attributions`` are 1 for the pixels of
    the rule, 0 elsewhere. ``precision_samples`` and ``resample`` are those of ``anchor_tabular``,
    the others Alibi's.

    Args:
        image_shape: Shape of a flat image: [height, width], or with channels.
        channels: Place of the dimension of channels.
        segmentation_fn: Method of scikit-image that finds the superpixels.
        segmentation_kwargs: Keyword arguments of that method.
        p_sample: Chance, 0 to 1, that a superpixel is replaced in a drawn image.
    """

    cls = "AnchorImage"

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        image_shape: list[int] | None = None,
        channels: Literal["first", "last"] = "last",
        segmentation_fn: Literal["slic", "felzenszwalb", "quickshift"] = "slic",
        segmentation_kwargs: dict[str, int | float | bool] | None = None,
        p_sample: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._given_shape = image_shape
        self._channels = channels
        self._segmentation = segmentation_fn
        self._segmentation_kwargs = segmentation_kwargs
        self._search["p_sample"] = p_sample

    fits = staticmethod(partial(no_texts, "anchor_image"))

    @staticmethod
    def check(node: Explainer) -> Iterable[Mistake]:
        """Find shapes that are no image's."""
        yield from already_fitted(node, "segmentation_fn", "segmentation_kwargs")
        args: Mapping[str, Any] = node.args
        shape = args.get("image_shape")
        if shape is not None and (len(shape) not in (2, 3) or min(shape) < 1):
            yield ("args", "image_shape"), "must be [height, width], or that with channels"

    def prepare(self) -> None:
        """Determine the shape of an image; raise CannotLoad where args and types leave it open."""
        spec = self.model.inputs[self.function.input]
        sizes = () if spec is None else spec.shape[1:]
        known = sizes if sizes and min(sizes) > 0 else None
        if self._given_shape is not None:
            self._shape = tuple(self._given_shape)
        elif known is not None and len(known) in (2, 3):
            self._shape = known
        else:
            raise CannotLoad(
                "the shape of an image is unknown: "
                "give args: {image_shape: [height, width]}, or with channels"
            )
        self._row_shape = known or (self._shape if len(sizes) != 1 else (_size(self._shape),))
        if _size(self._row_shape) != _size(self._shape):
            raise CannotLoad(
                f"image_shape is {list(self._shape)}, "
                f"but the explained node takes {list(self._row_shape)}"
            )

    def make(self) -> Any:
        """Return Alibi's explainer."""
        known = _SEGMENTS[self._segmentation]
        given = self._segmentation_kwargs
        start = {name: known[name] for name in ("start_label",) if name in known}
        return library().AnchorImage(
            self.predicted,
            self._image(np.zeros(self._shape)).shape,
            segmentation_fn=self._segmentation,
            segmentation_kwargs=known if given is None else {**start, **given},
            images_background=self._backgrounds(),
            seed=self.node.seed,
        )

    def _backgrounds(self) -> Array | None:
        if self.node.data is None:
            return None
        images = samples.read(self.node, self.root).x
        if images[0].size != _size(self._shape):
            raise CannotLoad(f"data holds {list(images.shape[1:])}, no images {list(self._shape)}")
        return np.stack([self._image(image) for image in images])

    def _image(self, row: Array) -> Array:
        """Return an image [height, width, channels] in FP64."""
        image: Array = row.reshape(self._shape).astype(np.float64)
        if image.ndim == 2:
            return image[:, :, None]
        return np.moveaxis(image, 0, -1) if self._channels == "first" else image

    def rows(self, inputs: Mapping[str, Array]) -> Array:
        """Return the images of a request; raise InvalidRequest for images of another shape."""
        rows = self.function.rows(inputs)
        texts = rows.dtype.kind in "OSU"
        if texts or rows.ndim < 2 or _size(rows.shape[1:]) != _size(self._shape):
            raise InvalidRequest(
                f"anchor_image explains images {list(self._shape)}, "
                f"not {rows.dtype}{list(rows.shape)}"
            )
        self._row_shape = rows.shape[1:]
        return rows

    def to_library(self, row: Array) -> Array:
        """Return the image; raise InvalidRequest for an image of a single colour."""
        image = self._image(row)
        if image.min() == image.max():
            raise InvalidRequest("anchor_image explains images, but all pixels of one are equal")
        return image

    def from_library(self, rows: Any) -> Array:
        """Return images in the shape that the model takes."""
        images: Array = np.asarray(rows)
        if self._channels == "first" and len(self._shape) == 3:
            images = np.moveaxis(images, -1, 1)
        return images.reshape(len(images), *self._row_shape)

    def found(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the superpixels of the rule, and 1 for each of their pixels."""
        kept = data["raw"]["feature"]
        mask = np.isin(data["segments"], kept).astype(np.float64)
        image = np.repeat(mask[:, :, None], self._image(np.zeros(self._shape)).shape[-1], axis=2)
        return {
            "rule": tuple(f"superpixel {number}" for number in kept),
            "attributions": self.from_library(image[None])[0].tolist(),
        }


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape))
