"""Which batch fits in the memory."""

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from traceback import clear_frames
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor

from image_translation.cli.errors import UserError
from image_translation.models import ImageTranslationModule
from image_translation.training.device import free_memory, peak_memory, prepare_device, reset_peak_memory

PROBES = (1, 4)  # batches whose memory is measured; it grows evenly with the batch
SHARE = {"cuda": 0.95, "cpu": 0.8}  # of the free memory; on a CPU the rest is for everybody else


class BareLoop:
    """A model's training steps by hand: its networks and optimizers, with no trainer, data or logging around them.

    Args:
        model: it is trained, and of no use to a trainer afterwards.
        device: where to.
        precision: ``32-true`` or ``bf16-mixed``; another is taken for the latter.
    """

    def __init__(self, model: ImageTranslationModule, device: torch.device, precision: str) -> None:
        self.model, self.device = model.to(device).train(), device
        if device.type != "cpu":
            model.to(memory_format=torch.channels_last)
        self.half = precision != "32-true"
        self.optimizers = model.make_optimizers(fused=device.type in ("cpu", "cuda"))
        model.descend = self._descend  # type: ignore[method-assign]

    def _descend(self, index: int, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers[index].step()
        self.optimizers[index].zero_grad()

    def step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Train on ``{"input": (N, 3, S, S) in [-1, 1], "target": the same}``; the losses."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return self.model.optimize(batch)

    def random_batch(self, count: int, image_size: int) -> dict[str, Any]:
        halves = torch.rand(2, count, 3, image_size, image_size, device=self.device) * 2 - 1
        return {"input": halves[0], "target": halves[1], "name": [""] * count}


@contextmanager
def fitting_named(
    make: Callable[[], ImageTranslationModule], batch_size: int, image_size: int, trainer: Trainer
) -> Iterator[None]:
    """Name the largest batch that fits, where training ends because its own doesn't.

    Raises:
        UserError: the memory was not enough.
    """
    try:
        yield
    except Exception as error:
        chain: list[BaseException] = [error]  # what failed may be the saving of a checkpoint after it
        while chain[-1].__context__:
            chain.append(chain[-1].__context__)
        if not any(_is_out_of_memory(link) for link in chain):
            raise
        for link in chain:
            clear_frames(link.__traceback__)  # they hold on to what filled the memory
        device = trainer.strategy.root_device
        fits = _largest_batch(make, image_size, device, str(trainer.precision))
        raise UserError(_advice(batch_size, image_size, device, fits and min(fits, batch_size - 1))) from error


def _advice(batch_size: int, image_size: int, device: torch.device, fits: int | None) -> str:
    batch = f"A batch of {batch_size} images" if batch_size > 1 else "A image"
    found = f"{batch} of {image_size}×{image_size} does not fit in the memory of {device}"
    less = "model.gradient_checkpointing=true takes less memory"
    if fits is None:
        return f"{found}. Try a smaller data.batch_size; {less}."
    if fits < 1:
        nor = ", nor does a single one" if batch_size > 1 else ""
        return f"{found}{nor}. Try a smaller data.image_size or model.base_channels; {less}."
    return f"{found}; the largest that does, with some room left, is data.batch_size={fits}. Or: {less}."


def chosen_batch(
    make: Callable[[], ImageTranslationModule], image_size: int, trainer: Trainer, most: int, reserved: int = 0
) -> int:
    """The batch that ``data.batch_size=auto`` stands for: the largest that fits, and ``most`` at most.

    ``reserved`` bytes are for other things.

    Raises:
        UserError: there are several devices, or nobody knows how much memory there is, or not one image fits.
    """
    device = trainer.strategy.root_device
    if trainer.world_size > 1:
        raise UserError("data.batch_size=auto works on one device. Find it there, and then name it: data.batch_size=…")
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # the run draws what any other would
        fits = _largest_batch(make, image_size, device, str(trainer.precision), reserved)
    if fits is None:
        raise UserError(f"data.batch_size=auto: {device} doesn't say how much memory is free; name a number instead.")
    if fits < 1:
        raise UserError(_advice(1, image_size, device, 0))
    return min(fits, most)


def _largest_batch(
    make: Callable[[], ImageTranslationModule], image_size: int, device: torch.device, precision: str, reserved: int = 0
) -> int | None:
    """``largest_batch``, on a CPU in a process of its own: its trials would leave this one's memory in pieces."""
    if device.type != "cpu":
        return largest_batch(make, image_size, device, precision, reserved)
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=prepare_device, initargs=("cpu",)) as pool:
        try:
            return pool.submit(largest_batch, make, image_size, device, precision, reserved).result()
        except BrokenProcessPool:  # it was killed, or could not even begin
            return None


def largest_batch(
    make: Callable[[], ImageTranslationModule], image_size: int, device: torch.device, precision: str, reserved: int = 0
) -> int | None:
    """The most images that a training step has room for; None where the system doesn't say how much there is.

    The memory of two small batches is measured, and from it the largest is computed. On a GPU that one is tried; on a
    CPU it is not, because a process that takes too much there is killed.

    Args:
        make: makes a model to try, with random weights.
        image_size: height and width of the images.
        device: where it would train.
        precision: in which.
        reserved: bytes that are for other things.
    """
    # What is loaded at the very first step counts for no batch.
    training_peak(make, PROBES[0], image_size, device, precision)
    peaks = [training_peak(make, count, image_size, device, precision) for count in PROBES]
    free = free_memory(device)
    if free is None or None in peaks:
        return 0 if None in peaks else None
    base = _in_use(device)
    small, large = (peak - base for peak in peaks if peak is not None)
    image = 2 * 3 * 4 * image_size**2  # of input and target alone; a guard against a measurement that shows nothing
    each = max((large - small) / (PROBES[1] - PROBES[0]), image)
    room = free * SHARE[device.type] - reserved
    count = max(0, int((room - small) / each) + PROBES[0])
    while device.type == "cuda" and count and training_peak(make, count, image_size, device, precision) is None:
        count = count * 9 // 10
    return count


def training_peak(
    make: Callable[[], ImageTranslationModule], count: int, image_size: int, device: torch.device, precision: str
) -> int | None:
    """The peak of the memory, in bytes, in two training steps on ``count`` images; None if they don't fit."""
    _collect()
    reset_peak_memory(device)
    try:
        loop = BareLoop(make(), device, precision)
        for _ in range(2):  # the optimizers' own memory comes with the first
            loop.step(loop.random_batch(count, image_size))
        return peak_memory(device)
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        return None
    finally:
        loop = None  # type: ignore[assignment]
        _collect()


def _is_out_of_memory(error: BaseException) -> bool:
    if "could not create a primitive" in str(error):  # how oneDNN says it
        return True
    return isinstance(error, MemoryError) or (isinstance(error, Exception) and is_oom_error(error))


def _in_use(device: torch.device) -> int:
    """Bytes that are in use now."""
    reset_peak_memory(device)
    return peak_memory(device)


def _collect() -> None:
    gc.collect()
    if torch.cuda.is_available():
        garbage_collection_cuda()
