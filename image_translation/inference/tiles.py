"""Large images in overlapping tiles, without seams."""

import math
from collections.abc import Callable
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from image_translation.data.kinds import RGB, Kind
from image_translation.data.transforms import to_stored

OVERLAP = 4  # tiles share at least a quarter of their side
Place = tuple[slice, slice]  # rows and columns


def tile_places(height: int, width: int, tile: int) -> list[Place]:
    """Tiles of equal size that cover an image, evenly spread, row by row."""

    def starts(side: int) -> list[int]:
        if side <= tile:
            return [0]
        count = math.ceil((side - tile) / (tile - tile // OVERLAP)) + 1
        return [round(i * (side - tile) / (count - 1)) for i in range(count)]

    return [
        (slice(top, min(top + tile, height)), slice(left, min(left + tile, width)))
        for top in starts(height)
        for left in starts(width)
    ]


def parts_of(height: int, width: int, tile: int, divisor: int) -> list[Place]:
    """Parts of an image that don't overlap, as large as a tile or smaller, on multiples of ``divisor``."""

    def parts(side: int) -> list[slice]:
        step = math.ceil(side / math.ceil(side / tile) / divisor) * divisor
        return [slice(start, min(start + step, side)) for start in range(0, side, step)]

    return [(rows, columns) for rows in parts(height) for columns in parts(width)]


def blend_tiles(image: Tensor, places: list[Place], forward: Callable[[Tensor], Tensor], kind: Kind = RGB) -> Tensor:
    """The output of a ``kind`` for an image (C, H, W), as it is stored: the mean of its tiles' outputs, weighted by a
    Hann window.

    ``forward`` maps a tile (C, h, w) to float in [-1, 1]. Only the output of one row of tiles is held as float.
    """
    height, width = image.shape[-2:]
    result = torch.empty((height, width, kind.stored), dtype=kind.torch_dtype).permute(2, 0, 1)  # as files hold it
    rows = [list(row) for _, row in groupby(places, key=lambda place: place[0].start)]
    side = rows[0][0][0].stop
    total, across, down = torch.zeros(kind.channels, side, width), torch.zeros(width), torch.zeros(height)
    for _, horizontal in rows[0]:  # the windows' sums are products of those along the sides
        across[horizontal] += window(horizontal.stop - horizontal.start)
    for vertical, _ in (row[0] for row in rows):
        down[vertical] += window(side)
    tops = [row[0][0].start for row in rows]
    for row, (top, below) in zip(rows, pairwise([*tops, height]), strict=True):
        for vertical, horizontal in row:
            output = forward(image[:, vertical, horizontal])
            total[:, :, horizontal] += output * window(side)[:, None] * window(output.shape[-1])
        done = below - top  # rows that no further tile changes
        for line in range(side):  # one at a time: no copy of them all
            if line < done:
                values = total[:, line] / across / down[top + line]
                result[:, top + line] = to_stored(values[None, :, None], kind)[0, :, 0]
            total[:, line] = total[:, line + done] if line + done < side else 0
    return result


def window(length: int) -> Tensor:
    """Hann's, from above 0 to 1 and back."""
    return torch.sin(math.pi * (torch.arange(length) + 0.5) / length) ** 2


class Statistics:
    """The means and variances by which a network's group and instance norms normalize, made the same for all tiles.

    By its own statistics each tile of an image would get another contrast and color than its neighbors. While this
    context is open, every norm uses the mean of the statistics of all parts of the image that it has seen. What a layer
    gets depends on the layers before it, so the parts are gone through twice (``collect``): then all agree nearly.
    """

    def __init__(self, network: nn.Module) -> None:
        kinds = (nn.GroupNorm, nn.InstanceNorm2d)
        norms: list[Any] = [module for module in network.modules() if isinstance(module, kinds)]
        self.norms = [norm for norm in norms if not getattr(norm, "track_running_stats", False)]
        self.moments: dict[nn.Module, Tensor] = {}  # of each norm (parts, 2, groups): means of values and of squares
        self.part: int | None = None  # which is seen
        self.seen = self.count = 0  # parts, and all of them

    def __enter__(self) -> "Statistics":
        self.hooks = [norm.register_forward_hook(self._normalize) for norm in self.norms]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def collect(self, image: Tensor, parts: list[Place], forward: Callable[[Tensor], Tensor]) -> None:
        """See the parts of an image (C, H, W), which don't overlap."""
        self.count = len(parts)
        for index, part in [*enumerate(parts)] * 2 if self.norms else []:
            self.part, self.seen = index, max(self.seen, index + 1)
            forward(image[:, *part])
        self.part = None

    def _normalize(self, norm: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """Write over the output of a norm for one image; without a copy of its input, which may be large."""
        groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else norm.num_features
        x = inputs[0].float()
        if norm not in self.moments:  # for all parts: small tensors among large ones would scatter the free memory
            self.moments[norm] = x.new_zeros(self.count, 2, groups)
        if self.part is not None:
            values = x[0].view(groups, -1, *x.shape[2:])
            squares = torch.linalg.vector_norm(values, dim=(1, 2, 3)).square() / values[0].numel()
            self.moments[norm][self.part] = torch.stack([values.mean((1, 2, 3)), squares])
        mean, square = self.moments[norm][: self.seen].mean(0)
        scale = (square - mean**2 + norm.eps).rsqrt().repeat_interleave(x.shape[1] // groups)
        shift = -mean.repeat_interleave(x.shape[1] // groups) * scale
        if norm.affine:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None], out=output)
