"""LPIPS, FID and KID of the images of a test."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torchmetrics.image.kid import KernelInceptionDistance

from image_translation.data.transforms import to_uint8
from image_translation.metrics.perceptual import perceptual_metric


class Perceptual(Callback):
    """Adds ``perceptual/lpips``, ``fid`` or ``kid``, those in ``kinds``, to the metrics of a test.

    LPIPS is the mean distance of the outputs from their targets. FID and KID are distances of all outputs from all
    targets; FID is biased with fewer than some thousand images.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self.metrics = {kind: perceptual_metric(kind) for kind in kinds}

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.extra_metrics = {}
        for metric in self.metrics.values():
            metric.to(pl_module.device).reset()

    def on_test_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any, **__: Any) -> None:
        targets = to_uint8(batch["target"])
        with torch.autocast(outputs.device.type, enabled=False):
            for kind, metric in self.metrics.items():
                if kind == "lpips":
                    metric.update(outputs.float() / 255, targets.float() / 255)
                else:
                    metric.update(targets, real=True)
                    metric.update(outputs, real=False)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        for kind, metric in self.metrics.items():
            if isinstance(metric, KernelInceptionDistance):  # averages over subsets, at most as large as the set
                metric.subset_size = max(2, min(100, sum(map(len, metric.fake_features))))
            value = metric.compute()
            pl_module.extra_metrics[f"perceptual/{kind}"] = float(value[0] if isinstance(value, tuple) else value)
