"""LPIPS, FID and KID of the images of a test."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torchmetrics.image.kid import KernelInceptionDistance

from image_translation.data.transforms import to_uint8
from image_translation.metrics.perceptual import perceptual_metric
from image_translation.models import ImageTranslationModule


class Perceptual(Callback):
    """Computes ``lpips``, ``fid`` or ``kid``, those in ``kinds``; after a test ``values`` has them as ``perceptual/…``.

    LPIPS is the mean distance of the outputs from their targets. FID and KID are distances of all outputs from all
    targets; FID is biased with fewer than some thousand images.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self.metrics = {kind: perceptual_metric(kind) for kind in kinds}
        self.values: dict[str, float] = {}

    def on_test_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        for metric in self.metrics.values():
            metric.to(pl_module.device).reset()

    def on_test_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: ImageTranslationModule, outputs: Tensor, batch: dict[str, Any], *_: Any
    ) -> None:
        targets = to_uint8(batch["target"])
        with torch.autocast(outputs.device.type, enabled=False):
            for kind, metric in self.metrics.items():
                if kind == "lpips":
                    metric.update(outputs.float() / 255, targets.float() / 255)
                else:
                    metric.update(targets, real=True)
                    metric.update(outputs, real=False)

    def on_test_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        for kind, metric in self.metrics.items():
            if isinstance(metric, KernelInceptionDistance):  # averages over subsets, at most as large as the set
                metric.subset_size = max(2, min(100, sum(map(len, metric.fake_features))))
            value = metric.compute()
            self.values[f"perceptual/{kind}"] = float(value[0] if isinstance(value, tuple) else value)
