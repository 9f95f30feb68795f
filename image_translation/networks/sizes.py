"""The sizes that a network can take, and images that are padded to them."""

from typing import Any

import torch
from torch import Tensor

from image_translation.cli.errors import UserError, at_least, height_and_width

MULTIPLE = 32  # of it both sides must be where the depth of a network is taken from the size


def levels(image_size: Any, depth: int | None, innermost: int) -> int:
    """How often a network halves its images: ``depth``, or as often as both sides allow down to ``innermost`` pixels.

    UserError if the sides of ``image_size`` are no multiples of 2^depth, or without a ``depth`` of 32.
    """
    sides = height_and_width("image_size", image_size)
    if depth is not None:
        at_least("depth", depth, 2, whole=True)
    multiple = MULTIPLE if depth is None else 2**depth
    if any(side % multiple for side in sides):
        advice = "; a smaller model.depth takes others" if depth is None else f" with a depth of {depth}"
        raise UserError(f"image_size must be a multiple of {multiple}{advice}; got {image_size}.")
    if depth is None:
        depth = 0
        while all(side % 2 ** (depth + 1) == 0 and side >> (depth + 1) >= innermost for side in sides):
            depth += 1
    return depth


def size_limits(network: Any) -> tuple[int, int]:
    """The number that a network's sides must be multiples of, and the least of them."""
    divisor = int(getattr(network, "size_divisibility", 1))
    return divisor, int(getattr(network, "smallest_size", divisor))


def fits(height: int, width: int, divisor: int, least: int) -> bool:
    """Whether a network can take images of a size as they are."""
    return all(side % divisor == 0 and side >= least for side in (height, width))


def require_fitting(network: Any, height: int, width: int) -> None:
    """UserError if training images of a size are not what a network can take."""
    divisor, least = size_limits(network)
    if not fits(height, width, divisor, least):
        raise UserError(f"data.image_size={[height, width]}: both must be multiples of {divisor} for this model, "
                        f"and at least {least}. A smaller model.depth takes others.")  # fmt: skip


def pad(images: Tensor, divisor: int, least: int) -> Tensor:
    """Images (N, C, H, W), reflected at the right and bottom, again and again, until a network can take them."""
    height, width = images.shape[-2:]
    rows, columns = (mirrored(side, divisor, least, images.device) for side in (height, width))
    return images.index_select(-2, rows).index_select(-1, columns)


def mirrored(side: int, divisor: int, least: int, device: torch.device) -> Tensor:
    """The indices of a padded side; in operations that ONNX has for a side that is not known yet."""
    wanted = torch.sym_max((side + divisor - 1) // divisor * divisor, least)
    length = torch.full((), side, dtype=torch.int64, device=device)
    indices = torch.remainder(torch.arange(wanted, device=device), 2 * length)
    return torch.minimum(indices, 2 * length - 1 - indices)
