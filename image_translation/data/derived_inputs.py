"""Inputs that are computed from the image itself, on the device: ``data.derive`` of tasks in the layout ``derived``.

Any function of images (N, 3, H, W) in [-1, 1] can be used if it treats each image by itself and always the same way.
Checkpoints name those that stand here, so that a model is used without its config.
"""

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F


def gray(images: Tensor) -> Tensor:
    """The luma of images, in three equal channels."""
    return F.rgb_to_grayscale(images, 3)  # type: ignore[no-any-return]


def edges(images: Tensor, sigma: float = 2.0, low: float = 0.1, high: float = 0.2) -> Tensor:
    """Contours on white, by Canny 1986 without its slow last step: strong ones are black, weak ones gray.

    ``sigma`` is that of the blur, in pixels where the shorter side has 256; a larger one leaves coarser contours.
    ``low`` and ``high`` are the gradients of the weakest gray and black contour, for values in [0, 1].
    """
    from kornia.filters import canny  # only this task waits for it

    sigma = sigma * min(images.shape[-2:]) / 256
    width = 2 * round(2 * sigma) + 1
    _, contours = canny((images + 1) / 2, low, high, (width, width), (sigma, sigma), hysteresis=False)
    return (1 - 2 * contours).expand_as(images)


def lowres(images: Tensor, factor: int = 4) -> Tensor:
    """Images scaled to 1/``factor`` of their size, and enlarged again (bicubic, both ways)."""
    size = list(images.shape[-2:])
    small = F.resize(images, [side // factor for side in size], InterpolationMode.BICUBIC, antialias=True)
    return F.resize(small, size, InterpolationMode.BICUBIC).clamp(-1, 1)  # type: ignore[no-any-return]


def center_mask(images: Tensor, ratio: float = 0.5) -> Tensor:
    """Images with a gray square in the middle, ``ratio`` of the shorter side wide, as in Pathak et al. 2016."""
    height, width = images.shape[-2:]
    side = round(min(height, width) * ratio)
    return F.erase(images, (height - side) // 2, (width - side) // 2, side, side, images.new_zeros(()))  # type: ignore[no-any-return]


KNOWN = {f"{__name__}.{function.__name__}": function for function in (gray, edges, lowres, center_mask)}


def describe(derive: Callable[[Tensor], Tensor] | None) -> dict[str, Any] | None:
    """Name and options of a function, as plain values."""
    if derive is None:
        return None
    function, options = (derive.func, derive.keywords) if isinstance(derive, functools.partial) else (derive, {})
    named = function if hasattr(function, "__qualname__") else type(function)
    return {"name": f"{named.__module__}.{named.__qualname__}", "options": dict(options)}


def find(description: dict[str, Any]) -> Callable[[Tensor], Tensor] | None:
    """The function of a description, if it is one of this file's."""
    function = KNOWN.get(description["name"])
    return function and functools.partial(function, **description["options"])
