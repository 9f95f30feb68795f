"""Inputs that are computed from the image itself, on the device: ``data.derive`` of tasks in the layout ``derived``.

Any function of images (N, 3, S, S) in [-1, 1] can be used if it treats each image by itself and always the same way, as
torchvision's in ``conf/task/coloring.yaml``.
"""

from kornia.filters import canny
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F


def edges(images: Tensor, sigma: float = 2.0, low: float = 0.1, high: float = 0.2) -> Tensor:
    """Contours on white, by Canny 1986 without its slow last step: strong ones are black, weak ones gray.

    ``sigma`` is that of the blur, in pixels at 256×256; a larger one leaves coarser contours. ``low`` and ``high`` are
    the gradients of the weakest gray and black contour, for values in [0, 1].
    """
    sigma = sigma * images.shape[-1] / 256
    width = 2 * round(2 * sigma) + 1
    _, contours = canny((images + 1) / 2, low, high, (width, width), (sigma, sigma), hysteresis=False)
    return (1 - 2 * contours).expand_as(images)


def lowres(images: Tensor, factor: int = 4) -> Tensor:
    """Images scaled to 1/``factor`` of their size, and enlarged again (bicubic, both ways)."""
    size = list(images.shape[-2:])
    small = F.resize(images, [side // factor for side in size], InterpolationMode.BICUBIC, antialias=True)
    return F.resize(small, size, InterpolationMode.BICUBIC).clamp(-1, 1)  # type: ignore[no-any-return]


def center_mask(images: Tensor, ratio: float = 0.5) -> Tensor:
    """Images with a gray square in the middle, ``ratio`` of a side wide, as in Pathak et al. 2016 (inpainting)."""
    side = round(images.shape[-1] * ratio)
    start = (images.shape[-1] - side) // 2
    return F.erase(images, start, start, side, side, images.new_zeros(()))  # type: ignore[no-any-return]
