"""Predicting files: reading and writing them beside the computing."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from image_translation.cli.console import console
from image_translation.cli.errors import UserError, one_of
from image_translation.cli.values import PREDICT
from image_translation.data.images import FORMATS as READABLE
from image_translation.data.images import read_image
from image_translation.data.kinds import MODES, RGB, Kind, to_image, to_shown
from image_translation.data.sources.base import bullets
from image_translation.data.values import encode, join, read
from image_translation.inference.planning import FORMATS, VIDEO, Job, plan
from image_translation.inference.predictor import Predictor
from image_translation.runs.files import atomic_write

Array = np.ndarray[Any, Any]
OPAQUE = ("JPEG", "BMP")
AHEAD = 2**24  # pixels that are decoded ahead, or wait to be written; at least one image
SORTED = 256  # files among which those of equal size are brought together
BATCH, BATCH_PIXELS = 16, 2**19  # at most so many images at once, as long as they have no more pixels


@dataclass(frozen=True)
class Decoded:
    """An image: values (H, W, C) as they are stored, and its alpha channel if it has one that is no input."""

    job: Job
    pixels: Array
    mask: Image.Image | None

    @property
    def size(self) -> tuple[int, int]:
        height, width, _ = self.pixels.shape
        return height, width


def predict_folder(
    model: Any,
    source: str | Path | Sequence[str | Path],
    output: str | Path,
    form: str = "same",
    if_exists: str = "refuse",
    transparency: str = "keep",
    side_by_side: bool = False,
    smooth: float = 0.0,
    **options: Any,
) -> int:
    """Predict files by a loaded model, as the command ``predict`` does, and return how many.

    Args:
        model: see ``Predictor``, as are further ``options``.
        source: what the command calls ``input``: see ``find_files``.
        output: a folder; names and sub-folders are kept.
        form: what the command calls ``format``: ``same``, ``png``, ``jpg``, ``webp`` or ``tiff``.
        if_exists: of files in the output folder: ``refuse``, ``skip`` or ``overwrite``.
        transparency, side_by_side: see ``predict_files``.
        smooth: of videos, see ``predict_video``.

    Raises:
        UserError: as ``plan``; or some files can't be read, after all others are done.
    """
    for name, value in (("format", form), ("if_exists", if_exists), ("transparency", transparency)):
        one_of(name, value, PREDICT[name])
    predictor = Predictor(model, **options)
    kinds = predictor.input, RGB if side_by_side else predictor.target
    named = str(source) if isinstance(source, str | Path) else list(map(str, source))
    jobs = plan(named, Path(output).expanduser(), form, if_exists, kinds)
    raise_failed(predict_jobs(predictor, jobs, transparency, side_by_side, smooth), len(jobs))
    return len(jobs)


def predict_jobs(
    predictor: Predictor, jobs: Sequence[Job], transparency: str, side_by_side: bool, smooth: float
) -> list[str]:
    """Predict images, then videos, beside a progress bar; what is wrong with those that can't be."""
    from image_translation.inference.video import predict_video

    videos = [job for job in jobs if job.source.suffix.lower() in VIDEO]
    images = [job for job in jobs if job not in videos]
    messages = predict_files(predictor, images, transparency, side_by_side)
    quiet = not console().is_terminal
    failed = [text for text in track(messages, "Predicting", len(images), transient=True, disable=quiet) if text]
    for job in videos:
        try:
            predict_video(predictor, job, smooth, side_by_side)
        except UserError as error:
            failed.append(str(error))
    return failed


def raise_failed(failed: list[str], total: int) -> None:
    """UserError with what is wrong with files, if anything is."""
    if failed:
        raise UserError(f"{len(failed)} of {total} files were not predicted:{bullets(failed)}")


def predict_files(
    predictor: Predictor, jobs: Sequence[Job], transparency: str = "keep", side_by_side: bool = False
) -> Iterator[str | None]:
    """Predict files in batches of equal size; of each file what is wrong with it, or None when it is done.

    With ``transparency=keep`` an output is as transparent as its input, as far as the format can store it.
    ``side_by_side`` puts what the network got on the left of the output, both as they are shown.
    """
    kind = RGB if side_by_side else predictor.target
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        writing: deque[tuple[Future[None], int]] = deque()
        images = read_ahead(pool, jobs, predictor.input, predictor.model.trained_on["background"])
        for size, same_size in groupby(images, key=lambda image: None if isinstance(image, str) else image.size):
            if size is None:
                yield from (message for message in same_size if isinstance(message, str))
                continue
            pixels = size[0] * size[1]
            while batch := list(islice(same_size, max(1, min(BATCH, BATCH_PIXELS // pixels)))):
                decoded = [image for image in batch if not isinstance(image, str)]
                outputs = shown_outputs(predictor, [image.pixels for image in decoded], side_by_side)
                for image, array in zip(decoded, outputs, strict=True):
                    mask = image.mask if transparency == "keep" else None
                    writing.append((pool.submit(save, array, mask, image.job.target, kind), pixels))
                while len(writing) > 1 and sum(count for _, count in writing) > AHEAD:
                    writing.popleft()[0].result()
                yield from [None] * len(decoded)
        for future, _ in writing:
            future.result()


def shown_outputs(predictor: Predictor, arrays: Sequence[Array], side_by_side: bool) -> Iterator[Array]:
    """The outputs of images (H, W, C) of equal size, in the same form; side by side as they are shown."""
    images = torch.from_numpy(np.stack(arrays) if len(arrays) > 1 else arrays[0][None]).permute(0, 3, 1, 2)
    outputs = predictor(images)
    if side_by_side:
        before, after = to_shown(predictor.inputs(images), predictor.input), to_shown(outputs, predictor.target)
        outputs = torch.cat([before, after], dim=-1)
    yield from outputs.permute(0, 2, 3, 1).numpy()


def read_ahead(pool: ThreadPoolExecutor, jobs: Sequence[Job], kind: Kind, background: str) -> Iterator[Decoded | str]:
    """Decoded images, or what is wrong with a file; of equal size one after another where they are near each other."""
    waiting: deque[tuple[Future[Decoded | str], int]] = deque()
    for start in range(0, len(jobs), SORTED):
        window = [(header_size(job.source), job) for job in jobs[start : start + SORTED]]
        for (width, height), job in sorted(window, key=lambda pair: pair[0]):
            while waiting and sum(count for _, count in waiting) + width * height > AHEAD:
                yield waiting.popleft()[0].result()
            waiting.append((pool.submit(read_job, job, kind, background), width * height))
    while waiting:
        yield waiting.popleft()[0].result()


def header_size(path: Path) -> tuple[int, int]:
    """Width and height as a file says, (0, 0) if it is damaged: that is told when it is decoded."""
    try:
        with Image.open(path, formats=READABLE) as image:
            return image.size
    except Exception:  # Pillow's decoders raise many types
        return (0, 0)


def read_job(job: Job, kind: Kind, background: str) -> Decoded | str:
    """An image, or why there is none."""
    try:
        content = job.source.read_bytes()
        if kind.name not in ("rgb", "grey") or job.more:
            images = [read(path.read_bytes(), path, kind, background) for path in (job.source, *job.more)]
            values = np.array(join(images, job.source))
            values = values[..., None] if values.ndim == 2 else values
            if values.shape[2] != kind.stored:
                return f"{job.source}: has {values.shape[2]} channels; the model takes {kind.stored}."
            return Decoded(job, values, None)
        image = read_image(content, job.source, background, alpha=True)
    except OSError as error:
        return f"{job.source}: {error.strerror}."
    except UserError as error:
        return str(error)
    mask = image.getchannel("A") if image.mode == "RGBA" else None
    values = np.array(image.convert(MODES[kind.name]))
    return Decoded(job, values[..., None] if values.ndim == 2 else values, mask)


def save(array: Array, mask: Image.Image | None, path: Path, kind: Kind = RGB) -> None:
    """Write an output (H, W, C), with an alpha channel if there is one and the format can store it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind.name not in ("rgb", "grey"):
        with atomic_write(path) as file:
            file.write(encode(array, kind, path.suffix.lower()))
        return
    image = to_image(array, kind)
    form, options = FORMATS[path.suffix.lower()]
    if mask is not None and form not in OPAQUE:
        whole = Image.new("L", image.size, 255)
        whole.paste(mask, (image.width - mask.width, 0))  # the output is on the right
        image.putalpha(whole)
    with atomic_write(path) as file:
        image.save(file, form, **options)
