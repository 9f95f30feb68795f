"""What training costs: operations, time and memory."""

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from image_translation.models import ImageTranslationModule
from image_translation.training.device import peak_memory, reset_peak_memory

MIB = 2**20


def flops_per_image(model: ImageTranslationModule, image_size: int) -> int:
    """Floating-point operations for one image, two for each multiply-add of its convolutions and products."""
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, image_size, image_size, device=model.device))
    model.train(training)
    return int(counter.get_total_flops())


class Throughput(Callback):
    """Measures training: ``facts`` has its seconds without validation, images a second, and the peak of the memory.

    The memory is the device's, as far as torch has it; on a CPU it is the whole process's.
    """

    def __init__(self) -> None:
        self.seconds, self.images, self.peak = 0.0, 0, 0
        self.device: torch.device | None = None  # once training has begun
        self.since: float | None = None
        self.flops = 0

    @property
    def facts(self) -> dict[str, Any]:
        speed = self.images / self.seconds if self.seconds else None
        return {
            "flops_per_image": self.flops,
            "training_s": round(self.seconds, 3),
            "training_images_per_s": speed and float(f"{speed:.4g}"),
            "peak_memory_mib": round(self.peak / MIB, 1),
        }

    def state_dict(self) -> dict[str, Any]:
        self._notice_peak()
        return {"seconds": self.seconds, "images": self.images, "peak": self.peak}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.images, self.peak = state_dict["seconds"], state_dict["images"], state_dict["peak"]

    def on_fit_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self.flops = flops_per_image(pl_module, trainer.datamodule.image_size)  # type: ignore[attr-defined]
        self.device = pl_module.device
        reset_peak_memory(self.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        self.images += len(batch["name"]) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pause(pl_module.device)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pause(pl_module.device)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._pause(torch.device("cpu"))  # a device that failed may not answer

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._notice_peak()

    def _notice_peak(self) -> None:
        if self.device is not None:
            self.peak = max(self.peak, peak_memory(self.device))

    def _pause(self, device: torch.device) -> None:
        if self.since is not None:
            if device.type == "cuda":
                torch.cuda.synchronize(device)  # once an epoch; what is queued has yet to be computed
            self.seconds += time.perf_counter() - self.since
            self.since = None
