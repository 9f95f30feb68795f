"""A trained model's outputs for images of any size: whole, or in tiles if they are large."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from image_translation.cli.errors import UserError, at_least, height_and_width, one_of
from image_translation.data.derived_inputs import find
from image_translation.data.images import to_srgb
from image_translation.data.kinds import MODES, RGB, Kind, refuse_unknown, to_image
from image_translation.data.transforms import to_float, to_stored
from image_translation.data.values import read
from image_translation.inference.tiles import Statistics, blend_tiles, parts_of, tile_places
from image_translation.networks.sizes import size_limits
from image_translation.training.device import trim_memory

log = logging.getLogger(__name__)
TILE = 896  # pixels


class Predictor:
    """Computes outputs of a model for images of any size.

    A size that the network cannot take is padded by reflection at the right and bottom, and cut back.

    Args:
        model: maps (N, C, H, W) in [-1, 1] to (N, C', H, W); its ``generator`` may have a ``size_divisibility`` and a
            ``smallest_size``, and its ``trained_on`` says how inputs are made (see ``ImageTranslationModule``).
        size: ``native``; or ``train`` to scale the shorter side to the size of the training images, and the output
            back; or a number of pixels for the shorter side.
        tile: the side of the tiles of an image with more pixels than one has; ``auto`` is 896, 0 is for none.
        tta: ``hflip`` averages the output with that of the flipped image, flipped back; or ``none``.
        derive: compute the input of a task that derives it, such as gray images; False takes images as they are; or
            a function that computes it.
        precision: ``bf16-mixed`` or ``16-mixed`` for autocast, or ``32-true``.

    Raises:
        UserError: an argument is out of range, or the function that computes inputs is not known here.
    """

    def __init__(
        self,
        model: Any,
        size: Any = "native",
        tile: Any = "auto",
        tta: str = "none",
        derive: bool | Callable[[Tensor], Tensor] = True,
        precision: str = "32-true",
    ) -> None:
        self.model, self.precision = model, precision
        self.input, self.target = model.input_kind, model.target_kind
        trained_on = model.trained_on
        if size == "train":
            if "image_size" not in trained_on:
                text = "size=train needs a model that says at which size it was trained. Give a number of pixels."
                raise UserError(text)
            size = min(height_and_width("image_size", trained_on["image_size"], 1))
        self.size: int | None = None if size == "native" else size
        if self.size is not None:
            at_least("size", self.size, 1, whole=True)
        self.tta = one_of("tta", tta, ("none", "hflip"))
        self.derive = derive if callable(derive) else None
        if derive is True and (known := trained_on.get("derive")):
            self.derive = find(known)
            if self.derive is None:
                raise UserError(f"Inputs of this model are computed by {known['name']}, which is not known here. "
                                "Compute them first, and set derive=false.")  # fmt: skip
        self.device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        self.divisor, _ = size_limits(model.generator)
        tile = TILE if tile == "auto" else tile
        at_least("tile", tile, 0, whole=True)
        self.tile = tile + -tile % self.divisor

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """The outputs for images (N, C, H, W) as they are stored, in the same form; on the CPU."""
        x = self._prepare(images)
        training = self.model.training
        self.model.eval()
        try:
            if not self.tile or x.shape[-2] * x.shape[-1] <= self.tile**2:
                y = to_stored(self._forward(x), self.target).cpu()
            else:
                parts = [self._in_tiles(image)[None] for image in x]
                y = torch.cat(parts) if len(parts) > 1 else parts[0]  # one without a copy
        finally:
            self.model.train(training)
        return self._restore(y, images)

    @torch.inference_mode()
    def inputs(self, images: Tensor) -> Tensor:
        """What the network gets for images, in the same form as the outputs."""
        return self._restore(self._prepare(images).cpu(), images)

    def _prepare(self, images: Tensor) -> Tensor:
        """Scaled, and derived."""
        x = images if self.size is None else scale(images, self.input, self.size / min(images.shape[-2:]))
        if self.derive is None:
            return x
        return to_stored(self.derive(to_float(x.to(self.device), self.input)), self.input)

    def _restore(self, y: Tensor, images: Tensor) -> Tensor:
        """At the size of the images again."""
        if self.size is None:
            return y
        return resized(y, self.target, list(images.shape[-2:]))

    def _forward(self, x: Tensor) -> Tensor:
        """As they are stored → float in [-1, 1], on the model's device."""
        x = to_float(x.to(self.device), self.input)
        y: Tensor
        dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.precision)
        try:
            with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
                y = self.model(x).float()
                if self.tta == "hflip":
                    y = (y + self.model(x.flip(-1)).float().flip(-1)) / 2
        except RuntimeError as error:
            if hasattr(self.model.generator, "size_divisibility"):
                raise
            network, (height, width) = type(self.model.generator).__name__, x.shape[-2:]
            raise UserError(f"{network} can't take an image of {width}×{height}. If it needs sides that are multiples "
                            "of some number, set its size_divisibility to that.") from error  # fmt: skip
        return y

    def _in_tiles(self, image: Tensor) -> Tensor:
        """(C, H, W) → the output as it is stored, on the CPU."""
        height, width = image.shape[-2:]
        places = tile_places(height, width, self.tile)
        if getattr(self.model, "about", {}).get("normalizes_images"):
            log.warning("Tiles of an exported graph differ in contrast: each is normalized by statistics of its own. "
                        "Predict large images with the checkpoint, or with tile=0.")  # fmt: skip

        def forward(part: Tensor) -> Tensor:
            output = self._forward(part[None])[0].cpu()
            trim_memory()  # what it has left is scattered
            return output

        trim_memory()  # likewise what decoding has left
        with Statistics(self.model.generator) as statistics:
            statistics.collect(image, parts_of(height, width, self.tile, self.divisor), forward)
            return blend_tiles(image, places, forward, self.target)


def predict(model: Any, image: Any, **options: Any) -> Any:
    """The output for one image, or a list of outputs for a list of images.

    Args:
        model, options: see ``Predictor``.
        image: a PIL image, an array (H, W, C) of the type that the model's inputs are stored in, such as uint8, the
            path of an image file, or a list of these. Transparent images are laid over the color that was below those
            of the training.

    Returns:
        A PIL image for a PIL image or a path, if 8 bits can hold it, else an array; of the same size.

    Raises:
        UserError: for another image, or one of a size that a network without ``size_divisibility`` can't take.
    """
    predictor = Predictor(model, **options)
    if isinstance(image, list | tuple):
        return [predict_one(predictor, one) for one in image]
    return predict_one(predictor, image)


def predict_one(predictor: Predictor, image: Any) -> Any:
    background, kind, target = predictor.model.trained_on["background"], predictor.input, predictor.target
    from_file = isinstance(image, str | Path)
    if from_file:
        try:
            image = read(Path(image).read_bytes(), Path(image), kind, background)
        except OSError as error:
            raise UserError(f"{image}: {error.strerror}.") from error
    is_image = from_file or isinstance(image, PILImage.Image)
    if isinstance(image, PILImage.Image) and kind.name in MODES:
        below = None if kind.name == "rgba" else background
        image = to_srgb(image, below, alpha=kind.name == "rgba").convert(MODES[kind.name])
    array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    if array.dtype.name != kind.dtype or array.ndim != 3 or array.shape[2] != kind.stored or not array.size:
        raise UserError(f"image must be a PIL image, a {kind.dtype} array (H, W, {kind.stored}) or a path, "
                        f"got {array.dtype} {array.shape}.")  # fmt: skip
    if kind.classes:
        refuse_unknown(array, kind, "image")
    output = predictor(torch.tensor(array).permute(2, 0, 1)[None])[0].permute(1, 2, 0).contiguous().numpy()
    return to_image(output, target) if is_image and target.is_8_bit else output


def scale(images: Tensor, kind: Kind, factor: float) -> Tensor:
    """Stored images (N, C, H, W), resized as training images are."""
    return resized(images, kind, [max(1, round(side * factor)) for side in images.shape[-2:]])


def resized(images: Tensor, kind: Kind, sides: list[int]) -> Tensor:
    if kind.classes:
        return resize(images, sides, InterpolationMode.NEAREST)  # type: ignore[no-any-return]
    # Torch has no interpolation for 16 bits, and fails on 8 bits to a single pixel.
    if images.dtype == torch.uint16 or (images.dtype == torch.uint8 and sides == [1, 1]):
        return to_stored(resized(to_float(images, kind), RGB, sides), kind)
    smooth = 1 not in images.shape[-2:]  # of a single row torch can make no smooth one
    return resize(images, sides, InterpolationMode.BICUBIC, antialias=smooth)  # type: ignore[no-any-return]
