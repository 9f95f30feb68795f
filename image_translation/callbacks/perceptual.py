"""LPIPS, FID and KID, of networks that others trained: ``pip install .[perceptual]``."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
from torchvision.models import AlexNet_Weights

from image_translation.cli.errors import UserError, one_of
from image_translation.data.transforms import to_uint8
from image_translation.models import ImageTranslationModule

KINDS = ("lpips", "fid", "kid")


class Perceptual(Callback):
    """Measures a test's images as networks see them; ``values`` has the results after it.

    - ``perceptual/lpips`` (Zhang et al. 2018, AlexNet): mean distance of each output from its target.
    - ``perceptual/fid`` (Heusel et al. 2017) and ``perceptual/kid`` (Bińkowski et al. 2018): distance of all outputs
      from all targets. FID of fewer than some thousand images is mostly bias.

    Args:
        kinds: some of ``lpips``, ``fid``, ``kid``.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self.kinds = [one_of("perceptual", kind, KINDS) for kind in kinds]
        self.metrics: dict[str, Metric] = {}
        self.seen = 0
        self.values: dict[str, float] = {}

    def on_test_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self.seen = 0
        count = len(trainer.datamodule.datasets[pl_module.test_split])  # type: ignore[attr-defined]
        self.metrics = {kind: build(kind, count).to(pl_module.device) for kind in self.kinds}

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        pl_module: ImageTranslationModule,
        outputs: Tensor,
        batch: dict[str, Any],
        *_: Any,
        **__: Any,
    ) -> None:
        targets = to_uint8(batch["target"])
        self.seen += len(targets)
        with torch.autocast(outputs.device.type, enabled=False):
            for kind, metric in self.metrics.items():
                if kind == "lpips":
                    metric.update(outputs.float() / 255, targets.float() / 255)
                else:
                    metric.update(targets, real=True)
                    metric.update(outputs, real=False)

    def on_test_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        for kind, metric in self.metrics.items():
            if isinstance(metric, KernelInceptionDistance):  # a part of the split may have been measured
                metric.subset_size = min(metric.subset_size, self.seen)
            value = metric.compute()
            self.values[f"perceptual/{kind}"] = float(value[0] if isinstance(value, tuple) else value)


def build(kind: str, images: int) -> Metric:
    """The metric of that kind, for a set of so many images.

    Raises:
        UserError: a package or the network's weights are missing, or there are too few images.
    """
    if kind != "lpips" and images < 2:
        raise UserError(f"perceptual={kind} compares sets of images; this one has {images}.")
    if kind != "lpips" and importlib.util.find_spec("torch_fidelity") is None:
        raise UserError(f"perceptual={kind} needs the package torch-fidelity: pip install '.[perceptual]'")
    try:
        if kind == "lpips":
            return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
        if kind == "fid":
            return FrechetInceptionDistance()
        return KernelInceptionDistance(subset_size=min(100, images))
    except (OSError, EOFError, RuntimeError) as error:  # no network, or a file that is not what it should be
        place = weights_path(kind)
        raise UserError(
            f"perceptual={kind} needs the weights {place.name}, and they are neither in {place.parent} nor can they be "
            f"fetched ({error}). Run it once on a machine with a network, and copy the file there."
        ) from error


def weights_path(kind: str) -> Path:
    """Where torch keeps the weights of the network behind ``kind``."""
    if kind == "lpips":
        url = str(AlexNet_Weights.IMAGENET1K_V1.url)
    else:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

        url = str(URL_INCEPTION_V3)
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
