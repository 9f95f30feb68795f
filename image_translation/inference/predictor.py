"""A model's output for one image of any size."""

from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image as PILImage
from torch import nn

from image_translation.cli.errors import UserError
from image_translation.data.images import to_srgb
from image_translation.data.transforms import to_float, to_uint8

Image = TypeVar("Image", PILImage.Image, np.ndarray[Any, Any])


def predict_image(model: nn.Module, image: Image) -> Image:
    """The output for one image.

    A size that the network cannot take is padded by reflection at the right and bottom, and cut back.

    Args:
        model: maps (N, 3, H, W) in [-1, 1] to the same; its ``generator`` may have a ``size_divisibility``.
        image: a PIL image, or a uint8 array (H, W, 3); UserError for another one.

    Returns:
        The output, of the same type and size.
    """
    array = np.asarray(to_srgb(image) if isinstance(image, PILImage.Image) else image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UserError(f"image must be a PIL image or a uint8 array (H, W, 3), got {array.dtype} {array.shape}.")
    height, width, _ = array.shape
    divisor = int(getattr(model.generator, "size_divisibility", 1))
    padded = np.pad(array, ((0, -height % divisor), (0, -width % divisor), (0, 0)), mode="symmetric")
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    x = to_float(torch.tensor(padded, device=device).permute(2, 0, 1)[None])
    training = model.training
    model.eval()
    with torch.inference_mode():
        output = to_uint8(model(x))[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()
    model.train(training)
    return PILImage.fromarray(output) if isinstance(image, PILImage.Image) else output
