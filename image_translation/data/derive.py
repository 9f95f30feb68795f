"""Inputs that are computed from the picture itself, on the device: ``data.derive`` of tasks in the layout ``derived``.

Any callable on pictures (N, 3, S, S) in [-1, 1] will do, as long as it treats each picture by itself and the same every
time: ``conf/task/coloring.yaml`` uses one of torchvision's as it is.
"""

import torch
from kornia.filters import canny
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F


def edges(pictures: Tensor, sigma: float = 2.0, low: float = 0.1, high: float = 0.2) -> Tensor:
    """Contours on white, by Canny 1986 without its last step: strong ones are black, weak ones grey.

    (The last step follows weak contours from pixel to pixel, which takes a GPU thousands of kernels and a CPU seconds.)

    Args:
        pictures: (N, 3, S, S) in [-1, 1].
        sigma: of the blur, in pixels at 256×256; more leaves coarser contours.
        low: the gradient of the weakest grey contour, for values in [0, 1].
        high: that of the weakest black one.
    """
    sigma = sigma * pictures.shape[-1] / 256
    width = 2 * round(2 * sigma) + 1
    with torch.autocast(pictures.device.type, enabled=False):
        _, contours = canny((pictures.float() + 1) / 2, low, high, (width, width), (sigma, sigma), hysteresis=False)
    return (1 - 2 * contours).expand_as(pictures).to(pictures.dtype)


def lowres(pictures: Tensor, factor: int = 4) -> Tensor:
    """What is left of pictures at 1/``factor`` of their size, enlarged again (bicubic, both ways)."""
    size = list(pictures.shape[-2:])
    small = F.resize(pictures, [side // factor for side in size], InterpolationMode.BICUBIC, antialias=True)
    enlarged: Tensor = F.resize(small, size, InterpolationMode.BICUBIC)
    return enlarged.clamp(-1, 1)


def hole(pictures: Tensor, part: float = 0.5) -> Tensor:
    """Pictures with a grey square in the middle, ``part`` of a side wide, as in Pathak et al. 2016 (inpainting)."""
    side = round(pictures.shape[-1] * part)
    start = (pictures.shape[-1] - side) // 2
    erased: Tensor = F.erase(pictures, start, start, side, side, pictures.new_zeros(()))
    return erased
