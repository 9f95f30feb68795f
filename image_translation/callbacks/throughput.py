"""What training costs: operations, time and memory."""

import time
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch.utils.flop_counter import FlopCounterMode

from image_translation.models import ImageTranslationModule
from image_translation.training.device import peak_memory, reset_peak_memory


def flops_per_image(model: ImageTranslationModule, height: int, width: int) -> int:
    """Floating-point operations for one image, two for each multiply-add of its convolutions and products."""
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, model.input_kind.channels, height, width, device=model.device))
    model.train(training)
    return int(counter.get_total_flops())


class Throughput(Callback):
    """Measures training: ``facts`` has its seconds without validation, images a second, and the peak of the memory.

    The memory is the device's, as far as torch has it; on a CPU it is the whole process's.
    """

    def __init__(self) -> None:
        self.seconds, self.images, self.peak, self.flops = 0.0, 0, 0, 0
        self.since: float | None = None  # when the clock was started; None while it stands

    @property
    def facts(self) -> dict[str, Any]:
        speed = self.images / self.seconds if self.seconds else None
        return {
            "flops_per_image": self.flops,
            "training_s": round(self.seconds, 3),
            "training_images_per_s": speed and float(f"{speed:.4g}"),
            "peak_memory_mib": round(self.peak / 2**20, 1),
        }

    def state_dict(self) -> dict[str, Any]:
        running = time.perf_counter() - self.since if self.since else 0.0
        return {"seconds": self.seconds + running, "images": self.images, "peak": self.peak}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.images, self.peak = state_dict["seconds"], state_dict["images"], state_dict["peak"]

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.flops = flops_per_image(pl_module, *trainer.datamodule.sides)  # type: ignore[attr-defined]
        reset_peak_memory(pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.since = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.images += len(batch["name"]) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._stop_clock(pl_module.device)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._stop_clock(pl_module.device)

    def _stop_clock(self, device: torch.device) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # once an epoch; what is queued has yet to be computed
        self.peak = max(self.peak, peak_memory(device))
        if self.since is not None:
            self.seconds += time.perf_counter() - self.since
            self.since = None
