"""Further metrics of the images of a test: sharpness, MS-SSIM and VIF, and distances between features of networks."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torchmetrics import Metric
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure, VisualInformationFidelity
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity as LPIPSMetric

from image_translation.cli.errors import UserError, one_of
from image_translation.data.kinds import to_shown
from image_translation.data.transforms import to_stored
from image_translation.metrics.sharpness import Sharpness

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
KINDS: dict[str, tuple[type[Metric], dict[str, Any], str]] = {  # class, options, file of the network's weights
    "sharpness": (Sharpness, {}, ""),
    "msssim": (MultiScaleStructuralSimilarityIndexMeasure, {"data_range": 1.0}, ""),  # Wang et al. 2003
    "vif": (VisualInformationFidelity, {"sigma_n_sq": 2.0 / 255**2}, ""),  # Sheikh and Bovik 2006, for images in [0, 1]
    # Zhang et al. 2018, for images in [0, 1]
    "lpips": (LPIPSMetric, {"net_type": "alex", "normalize": True}, "alexnet-owt-7be5be79.pth"),
    "fid": (FrechetInceptionDistance, {}, INCEPTION),  # Heusel et al. 2017
    "kid": (KernelInceptionDistance, {}, INCEPTION),  # Bińkowski et al. 2018
}


def perceptual_metric(kind: str) -> Metric:
    """Build the metric ``sharpness``, ``msssim``, ``vif``, ``lpips``, ``fid`` or ``kid``.

    Raises:
        UserError: the kind is unknown, or the package torch-fidelity or the network's weights are missing.
    """
    metric_class, options, weights = KINDS[one_of("perceptual", kind, KINDS)]
    try:
        return metric_class(**options)
    except (ImportError, OSError, EOFError, RuntimeError) as error:
        raise UserError(
            f"{kind} needs pip install '.[perceptual]' and the file {torch.hub.get_dir()}/checkpoints/{weights}, which "
            f"can come from another machine: {error}"
        ) from error


class Perceptual(Callback):
    """Adds ``perceptual/sharpness``, ``msssim``, ``vif``, ``lpips``, ``fid`` or ``kid`` to the metrics of a test.

    All but two compare each output with its target. FID and KID are distances of all outputs from all targets; FID is
    biased with fewer than some thousand images. What needs no network is computed of the baselines, too. Masks
    have none of them.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self.own = {("", kind): perceptual_metric(kind) for kind in kinds}
        self.quick = [kind for kind in kinds if not KINDS[kind][2]]
        self.metrics: dict[tuple[str, str], Metric] = {}

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.extra_metrics, self.metrics = {}, {}
        if not pl_module.target_kind.classes:
            names = pl_module.baselines.names
            self.metrics = self.own | {(name, kind): perceptual_metric(kind) for name in names for kind in self.quick}
        for metric in self.metrics.values():
            metric.to(pl_module.device).reset()

    def on_test_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any, **__: Any) -> None:
        target_kind = pl_module.target_kind
        stored = {**pl_module.baselines.outputs, "": outputs, "target": to_stored(batch["target"], target_kind)}
        with torch.autocast(outputs.device.type, enabled=False):
            for (name, kind), metric in self.metrics.items():
                output, target = stored[name], stored["target"]
                if KINDS[kind][2]:  # a network looks at colors
                    output, target = to_shown(output, target_kind), to_shown(target, target_kind)
                if kind in ("fid", "kid"):
                    metric.update(target, real=True)
                    metric.update(output, real=False)
                    continue
                low, peak = (0.0, 255.0) if KINDS[kind][2] else (target_kind.low, target_kind.peak)
                try:
                    metric.update((output.float() - low) / peak, (target.float() - low) / peak)
                except ValueError as error:  # of images that are too small for it
                    raise UserError(f"perceptual={kind}: {error}") from error

    def on_test_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        split = "" if pl_module.test_split == "test" else pl_module.test_split
        for (name, kind), metric in self.metrics.items():
            if isinstance(metric, KernelInceptionDistance):  # averages over subsets, at most as large as the set
                metric.subset_size = max(2, min(100, sum(map(len, metric.fake_features))))
            value = metric.compute()
            number = float(value[0] if isinstance(value, tuple) else value)
            pl_module.extra_metrics.setdefault(name, {})[f"perceptual/{kind}"] = number
            logged = "/".join(part for part in (split, name, "perceptual", kind) if part)
            pl_module.log(logged, number, sync_dist=True)  # equal on all devices already
