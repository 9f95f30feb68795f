"""A model's output for one image of any size."""

from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image as PILImage

from image_translation.cli.errors import UserError
from image_translation.data.images import to_srgb
from image_translation.data.transforms import to_float, to_uint8

Image = TypeVar("Image", PILImage.Image, np.ndarray[Any, Any])


def predict_image(model: Any, image: Image) -> Image:
    """The output for one image.

    A size that the network cannot take is padded by reflection at the right and bottom, and cut back. Transparent
    images are laid over the color that was below those of the training.

    Args:
        model: maps (N, 3, H, W) in [-1, 1] to the same; its ``generator`` may have a ``size_divisibility`` and a
            ``smallest_size``.
        image: a PIL image, or a uint8 array (H, W, 3).

    Returns:
        The output, of the same type and size.

    Raises:
        UserError: for another image, or one of a size that a network without ``size_divisibility`` can't take.
    """
    array = np.asarray(to_srgb(image, model.background) if isinstance(image, PILImage.Image) else image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UserError(f"image must be a PIL image or a uint8 array (H, W, 3), got {array.dtype} {array.shape}.")
    height, width, _ = array.shape
    divisor = int(getattr(model.generator, "size_divisibility", 1))
    least = int(getattr(model.generator, "smallest_size", divisor))
    more = [max(least, side + -side % divisor) - side for side in (height, width)]
    padded = np.pad(array, ((0, more[0]), (0, more[1]), (0, 0)), mode="symmetric")
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    x = to_float(torch.tensor(padded, device=device).permute(2, 0, 1)[None])
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            output = to_uint8(model(x))[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()
    except RuntimeError as error:
        network = type(model.generator).__name__
        if hasattr(model.generator, "size_divisibility"):
            raise
        raise UserError(f"{network} can't take an image of {width}×{height}. If it needs sides that are multiples of "
                        "some number, set its size_divisibility to that.") from error  # fmt: skip
    finally:
        model.train(training)
    return PILImage.fromarray(output) if isinstance(image, PILImage.Image) else output
