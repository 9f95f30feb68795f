"""The image of a run that one opens first: its curves, and what became of the best, the median and the worst image."""

import csv
import io
import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning import Trainer

from image_translation.callbacks.panels import draw_panel
from image_translation.data.transforms import from_float, to_stored
from image_translation.metrics.image_scores import ImageScores, mean_metrics
from image_translation.metrics.names import LEADERS, leading, title

NO_LOSSES = ("learning_rate", "gradient", "score", "accuracy")  # beginnings of names
CAPTIONS = {"psnr": "{psnr:.2f} dB, SSIM {ssim:.3f}", "miou": "mean IoU {miou:.3f}"}
LINES = {"color_curve": "--", "identity": ":", "mean_target": ":"}


def draw_results(folder: Path, scores: Mapping[str, Mapping[str, float]]) -> Image.Image:
    """Draw the test images of best, median and worst PSNR, or mean IoU, from the folders of a test's results."""
    best_by = leading(next(iter(scores.values())))
    ranked = sorted(scores, key=lambda name: -scores[name][best_by])
    chosen = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
    captions = [f"{which}: {name}, {CAPTIONS[best_by].format(**scores[name])}" for which, name in chosen.items()]
    kinds = {"input": "inputs", "target": "targets", "output": "images"}
    columns = {kind: [Image.open(folder / place / f"{name}.png") for name in chosen.values()]
               for kind, place in kinds.items()}  # fmt: skip
    return draw_panel(columns, captions)


@torch.inference_mode()
def val_baselines(model: Any, trainer: Trainer) -> dict[str, dict[str, float]]:
    """The metrics of the baselines, means over the val images that the model was validated on; on one process."""
    datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
    limit = trainer.limit_val_batches
    batches = limit if isinstance(limit, int) else math.ceil(limit * len(datamodule.dataloader("val")))
    kind = model.target_kind
    scores = {name: ImageScores(**kind.scale, sync_on_compute=False) for name in model.baselines.names}
    for batch in islice(datamodule.plain_batches("val", model.device), batches):
        target = from_float(batch["target"], kind)
        for name, output in model.baselines.predict(batch["input"]).items():
            scores[name].to(model.device).update(to_stored(output, kind), target, batch["name"])
    # Without a validation there is nothing to compare with.
    return {name: mean_metrics(metric.compute()) for name, metric in scores.items() if metric.names}


def draw_curves(metrics: Path, baselines: Mapping[str, Mapping[str, float]], heading: str) -> Image.Image:
    """Draw the losses, and the val PSNR and SSIM beside the baselines', over the steps of ``metrics.csv``."""
    with metrics.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 3), dpi=100, layout="constrained")
    figure.suptitle(heading, parse_math=False)
    shown = [metric for metric in LEADERS if rows and f"val/{metric}" in rows[0]]
    losses, *of_metrics = figure.subplots(1, 1 + len(shown), squeeze=False)[0]

    def points(name: str) -> tuple[list[int], list[float]]:
        found = [row for row in rows if row.get(name)]
        return [int(row["step"]) for row in found], [float(row[name]) or math.nan for row in found]  # 0: not drawn

    for name in rows[0] if rows else ():
        if name.startswith("train/") and not name.removeprefix("train/").startswith(NO_LOSSES):
            losses.plot(*points(name), marker=".", label=name.removeprefix("train/"))
    losses.set(title="losses", xlabel="step")
    losses.set_yscale("symlog", linthresh=0.01)  # an adversarial loss may be negative
    for ax, metric in zip(of_metrics, shown, strict=True):
        ax.plot(*points(f"val/{metric}"), marker=".", label="val")
        for name, means in baselines.items():
            ax.axhline(means[metric], color="gray", linestyle=LINES[name], label=name)
        ax.set(title=f"val {title(metric)}", xlabel="step")
    for ax in (losses, *of_metrics):
        ax.grid(color="#dddddd", linewidth=0.6)
        ax.legend(fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")


def stack(*images: Image.Image) -> Image.Image:
    """Images below each other, centered."""
    width = max(image.width for image in images)
    result = Image.new("RGB", (width, sum(image.height for image in images)), "white")
    top = 0
    for image in images:
        result.paste(image, ((width - image.width) // 2, top))
        top += image.height
    return result
