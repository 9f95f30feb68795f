"""The built-in sample: tiles of photos that scikit-image ships. Filters make its comic and monet targets."""

import itertools
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch
import skimage
from filelock import FileLock
from PIL import Image, ImageOps
from skimage import color, filters, restoration, segmentation

log = logging.getLogger(__name__)
VERSION = 2  # raise it when the images change
PHOTOS = {
    "train": ("astronaut.png", "rocket.jpg", "motorcycle_left.png", "hubble_deep_field.jpg", "ihc.png", "retina.jpg"),
    "val": ("coffee.png",),
    "test": ("chelsea.png",),
}
TILE, SHORT_SIDE = 256, 384
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def comic(photo: Array) -> Array:
    """Flat colors and dark contours, after Winnemöller et al. 2006 and 2012 (XDoG). (H, W, 3) in [0, 1] → the same."""
    lab = color.rgb2lab(restoration.denoise_tv_chambolle(photo, weight=0.12, channel_axis=-1))
    step = 14.0  # of lightness; between two steps it changes softly
    nearest = np.round(lab[..., 0] / step) * step
    lab[..., 0] = nearest + step / 2 * np.tanh((lab[..., 0] - nearest) / 2.5)
    flat: Array = np.clip(color.lab2rgb(lab * [1, 1.4, 1.4]), 0, 1)
    gray = color.rgb2gray(photo)
    fine, coarse = (filters.gaussian(gray, sigma) for sigma in (1.2, 1.2 * 1.6))
    contours = 1 + np.tanh(np.minimum(0, 60 * (fine - coarse + 0.008)))  # 1 where there is none, down to 0
    drawn: Array = flat * contours[..., None]
    return drawn


def monet(photo: Array) -> Array:
    """Patches of one color, like brush strokes, in a lighter and bluer palette. (H, W, 3) in [0, 1] → the same."""
    strokes = segmentation.slic(photo, n_segments=2500, compactness=6, sigma=0.5, start_label=0)
    lab = color.rgb2lab(color.label2rgb(strokes, photo, kind="avg", bg_label=-1))
    lab = lab * [0.85, 1.3, 1.3] + [14, 0, -6]
    painting: Array = np.clip(color.lab2rgb(lab), 0, 1)
    return painting


# The folders of each task's input and target, as in conf/task/*.yaml, and the filter that makes the images in them.
SAMPLE_TASKS: dict[str, dict[str, Callable[[Array], Array]]] = {
    **{task: {"": lambda photo: photo} for task in ("coloring", "sketch", "superres", "inpaint")},
    "comic": {"face": lambda photo: photo, "comics": comic},
    "monet": {"photo": lambda photo: photo, "monet": monet},
}


def sample_folder(task: str) -> Path:
    """The folder of a task's sample, made at the first call in the user's cache."""
    folder = Path(pooch.os_cache("image_translation"), f"sample-v{VERSION}-{task}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        if not folder.is_dir():
            for split, names in PHOTOS.items():
                for name in names:
                    _write_tiles(name, SAMPLE_TASKS[task], Path(scratch) / task / split)
            (Path(scratch) / task).rename(folder)  # appears complete or not at all
    return folder


def _write_tiles(name: str, sides: dict[str, Callable[[Array], Array]], folder: Path) -> None:
    photo = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
    photo = ImageOps.scale(photo, SHORT_SIDE / min(photo.size), Image.Resampling.LANCZOS)
    for side, draw in sides.items():
        (folder / side).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((draw(np.asarray(photo) / 255) * 255).round().astype(np.uint8))
        bottom, right = image.height - TILE, image.width - TILE
        for index, (top, left) in enumerate(itertools.product((0, bottom), (0, right // 2, right))):
            tile = image.crop((left, top, left + TILE, top + TILE))
            tile.save(folder / side / f"{Path(name).stem}_{index}.png")
